"""The progress of a sweep: one line, with messages above it."""

import os
import sys
import time
from contextlib import suppress

from utils.console import PROGRESS_SECONDS, format_duration, print_line


class ProgressLine:
    """A line on standard error that is overwritten; without a terminal, a new line per minute.

    num_done: number of runs that have ended."""

    REFRESH_SECONDS = 1.0  # between updates on a terminal

    def __init__(self, total_runs: int):
        self.total_runs, self.num_done = total_runs, 0
        self.is_terminal = sys.stderr.isatty()
        self.start_time = self.last_update_time = time.monotonic()

    def update_line(self, running: int, failed: int) -> None:
        """Show the progress if the last update is long enough ago."""
        now = time.monotonic()
        interval = self.REFRESH_SECONDS if self.is_terminal else PROGRESS_SECONDS
        if now - self.last_update_time < interval:
            return
        self.last_update_time = now
        words = f"{self.num_done} of {self.total_runs} runs done, {running} running"
        words += f", {failed} failed" if failed else ""
        if self.num_done:
            left = (now - self.start_time) / self.num_done * (self.total_runs - self.num_done)
            words += f", about {format_duration(left)} left"
        if self.is_terminal:
            self._overwrite_line(words)
        else:
            print_line(words, "stderr")

    def print_above(self, message: str) -> None:
        """Print a message that stays."""
        self.clear_line()
        print_line(message, "stderr")

    def clear_line(self) -> None:
        if self.is_terminal:
            self._overwrite_line("")

    def _overwrite_line(self, words: str) -> None:
        with suppress(OSError):  # the terminal may have been closed
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write("\r\x1b[K" + words[: width - 1])
            sys.stderr.flush()
