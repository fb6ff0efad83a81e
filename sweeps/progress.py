"""How far a sweep is: one line, and above it what goes wrong."""

import os
import sys
import time
from contextlib import suppress

from utils.console import PROGRESS_SECONDS, format_duration, print_line


class ProgressLine:
    """One line on standard error that is written over; where that is no terminal, a line a minute.

    done: how many runs are over."""

    REFRESH_SECONDS = 1.0  # seconds between two lines on a terminal

    def __init__(self, runs: int):
        self.total_runs, self.num_done = runs, 0
        self.is_terminal = sys.stderr.isatty()
        self.start_time = self.last_update_time = time.monotonic()

    def update_line(self, running: int, failed: int) -> None:
        """Say how it stands, if that is due."""
        now = time.monotonic()
        if now - self.last_update_time < (
            self.REFRESH_SECONDS if self.is_terminal else PROGRESS_SECONDS
        ):
            return
        self.last_update_time = now
        words = f"{self.num_done} of {self.total_runs} runs done, {running} under way"
        words += f", {failed} failed" if failed else ""
        if self.num_done:
            left = (now - self.start_time) / self.num_done * (self.total_runs - self.num_done)
            words += f", about {format_duration(left)} left"
        if self.is_terminal:
            self._overwrite_line(words)
        else:
            print_line(words, "stderr")

    def print_above(self, words: str) -> None:
        """A line that stays."""
        self.clear_line()
        print_line(words, "stderr")

    def clear_line(self) -> None:
        """Take the line away."""
        if self.is_terminal:
            self._overwrite_line("")

    def _overwrite_line(self, words: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write("\r\x1b[K" + words[: width - 1])
            sys.stderr.flush()
