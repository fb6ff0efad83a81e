"""Output of a run while it works: log lines, progress bars, and progress lines without a terminal.

A run does not depend on its terminal: if that is closed, full or cannot encode a character, the
run continues, and the log file is complete.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.errors import SystemRefusal
from utils.files import os_errors_refused

log = logging.getLogger("al")  # mathematical modules use its children, such as "al.graph"

PROGRESS_SECONDS = 60.0  # between two progress lines if there is no progress bar
_active_stages: list[Callable[[], str]] = []  # text of each stage in progress, innermost last
_progress_thread_started = threading.Event()


def make_streams_safe() -> None:
    """Let standard output and standard error accept every character, even if they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed when the process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  stays open
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str, stream_name: str = "stdout") -> OSError | None:
    """Print a line above any progress bar; returns the error if the stream does not accept it.

    After an error the stream goes to os.devnull."""
    stream = getattr(sys, stream_name)
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except OSError as error:
        # Python flushes once more at exit, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def to_one_line(text: str) -> str:
    """The text on one line, with control characters and other non-printable ones escaped."""
    return escape_control_characters(" ".join(text.split()))


def escape_control_characters(text: str) -> str:
    """The text with control characters and other non-printable ones escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record))


class _LogFileHandler(logging.FileHandler):
    """A log file that cannot be written stops the run, like a checkpoint that cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        with os_errors_refused(Path(self.baseFilename)):
            raise


class _SafeTqdm(tqdm):
    """A progress bar whose terminal may be closed."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        print_status = tqdm.status_printer(file)

        def print_if_possible(text: str) -> None:
            with suppress(OSError):
                print_status(text)

        return print_if_possible


def open_log(path: Path) -> None:
    """Log to the terminal, and with more detail (such as timings) to the end of the file `path`.

    Raises SystemRefusal if the file cannot be written."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        with suppress(OSError):  # lines that it could not write before
            handler.close()
    with os_errors_refused(path):
        file = _LogFileHandler(path, encoding="utf-8")
    console = _ConsoleHandler()
    console.setLevel(logging.INFO)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for handler in (console, file):
        log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    if not sys.stderr.isatty() and not _progress_thread_started.is_set():
        _progress_thread_started.set()
        threading.Thread(target=_log_progress_forever, daemon=True).start()


def _log_progress_forever() -> None:
    """Where no progress bar is visible, log one line per PROGRESS_SECONDS."""
    while True:
        time.sleep(PROGRESS_SECONDS)
        for progress_text in _active_stages[-1:]:
            with suppress(SystemRefusal):  # cannot stop the run from here; the next checkpoint can
                log.info(progress_text())


class StageProgress:
    """A stage of a run that progress lines name: `with StageProgress("cycle 1: select"):`."""

    def __init__(self, stage: str):
        self.stage, self.start_time = stage, time.monotonic()

    def __enter__(self) -> "StageProgress":
        _active_stages.append(self.progress_text)
        return self

    def __exit__(self, *error: object) -> None:
        _active_stages.remove(self.progress_text)

    def progress_text(self) -> str:
        """What is being done, and for how long."""
        return f"{self.stage}, {format_duration(time.monotonic() - self.start_time)} so far"


class EpochProgressBar(StageProgress):
    """A stage that consists of epochs, with a progress bar on a terminal.

    `with EpochProgressBar(range(3, 10), "cycle 1: train") as bar: for epoch in bar: ...`"""

    def __init__(self, epochs: range, stage: str):
        super().__init__(stage)
        self.epochs, self.epochs_done, self.postfix = epochs, 0, ""
        self.bar = _SafeTqdm(epochs, desc=stage, leave=False, disable=None)

    def __enter__(self) -> "EpochProgressBar":
        super().__enter__()
        return self

    def __iter__(self) -> Iterator[int]:
        for epoch in self.bar:
            yield epoch
            self.epochs_done += 1

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.bar.close()

    def set_postfix_str(self, text: str) -> None:
        """Show the result of the last epoch."""
        self.postfix = text
        self.bar.set_postfix_str(text)

    def progress_text(self) -> str:
        """Stage, epoch, result of the last epoch, remaining time."""
        elapsed, remaining = time.monotonic() - self.start_time, len(self.epochs) - self.epochs_done
        epoch = min(self.epochs.start + self.epochs_done + 1, self.epochs.stop)
        text = f"{self.stage}, epoch {epoch} of {self.epochs.stop}"
        if self.postfix:
            text += f", {self.postfix}"
        if self.epochs_done:
            text += f", about {format_duration(elapsed / self.epochs_done * remaining)} left"
        return text


class DownloadProgressBar:
    """The download of a file: a progress bar, or one line per minute without a terminal.

    `with DownloadProgressBar("name", initial_bytes=0, total_bytes=100) as bar: bar.update(30)`"""

    def __init__(self, name: str, initial_bytes: int, total_bytes: int):
        self.name, self.bytes_done, self.total_bytes = name, initial_bytes, total_bytes
        self.last_report_time = time.monotonic()
        self.bar = _SafeTqdm(
            desc=name, initial=initial_bytes, total=total_bytes,
            unit="B", unit_scale=True, unit_divisor=1024, leave=False, disable=None,
        )  # fmt: skip

    def __enter__(self) -> "DownloadProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def update(self, count: int) -> None:
        """`count` more bytes have arrived."""
        self.bytes_done += count
        self.bar.update(count)
        if self.bar.disable and time.monotonic() - self.last_report_time > PROGRESS_SECONDS:
            self.last_report_time = time.monotonic()
            percent, size = 100 * self.bytes_done // self.total_bytes, self.total_bytes / 2**20
            print_line(f"{self.name}: {percent} % of {size:.1f} MiB")


class CountProgressBar(StageProgress):
    """Work on many images: a progress bar, or one line per minute without a terminal.

    `with CountProgressBar("encoding", 1000) as bar: bar.update(32)`"""

    def __init__(self, stage: str, total: int, done: int = 0):
        """done: images that were complete before."""
        super().__init__(stage)
        self.total, self.done, self.initial = total, done, done
        self.last_report_time = self.start_time
        self.bar = _SafeTqdm(
            desc=stage, total=total, initial=done, unit=" images", leave=False, disable=None
        )

    def __enter__(self) -> "CountProgressBar":
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.bar.close()

    def update(self, count: int) -> None:
        """`count` more images are done."""
        self.done += count
        self.bar.update(count)
        if self.bar.disable and time.monotonic() - self.last_report_time > PROGRESS_SECONDS:
            self.last_report_time = time.monotonic()
            print_line(self.progress_text())

    def progress_text(self) -> str:
        """Stage, images done, remaining time."""
        text = f"{self.stage}: {self.done:,} of {self.total:,}"
        if self.done > self.initial:
            elapsed = time.monotonic() - self.start_time
            left = elapsed / (self.done - self.initial) * (self.total - self.done)
            text += f", about {format_duration(left)} left"
        return text


def pluralize(number: int, noun: str) -> str:
    """1 split, 2 splits; 1 class, 2 classes."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours, such as "89 s", "1.5 min" or "2.0 h"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
