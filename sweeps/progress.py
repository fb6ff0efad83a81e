"""How far a sweep is: one line, and above it what goes wrong."""

import os
import sys
import time
from contextlib import suppress

from utils.console import EVERY, duration, say


class Progress:
    """One line on standard error that is written over; where that is no terminal, a line a minute.

    done: how many runs are over."""

    LOOK = 1.0  # seconds between two lines on a terminal

    def __init__(self, runs: int):
        self.runs, self.done = runs, 0
        self.terminal = sys.stderr.isatty()
        self.began = self.shown = time.monotonic()

    def show(self, running: int, failed: int) -> None:
        """Say how it stands, if that is due."""
        now = time.monotonic()
        if now - self.shown < (self.LOOK if self.terminal else EVERY):
            return
        self.shown = now
        words = f"{self.done} of {self.runs} runs done, {running} under way"
        words += f", {failed} failed" if failed else ""
        if self.done:
            left = (now - self.began) / self.done * (self.runs - self.done)
            words += f", about {duration(left)} left"
        if self.terminal:
            self._over(words)
        else:
            say(words, "stderr")

    def say(self, words: str) -> None:
        """A line that stays."""
        self.close()
        say(words, "stderr")

    def close(self) -> None:
        """Take the line away."""
        if self.terminal:
            self._over("")

    def _over(self, words: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write("\r\x1b[K" + words[: width - 1])
            sys.stderr.flush()
