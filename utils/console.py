"""What a run says while it works: log lines, progress bars, and without a terminal a line a minute.

The terminal is not the run: where it is closed, full or cannot spell a letter, work goes on and the
log file says it all.
"""

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from utils.errors import SystemRefusal
from utils.files import os_errors_refused

log = logging.getLogger("al")  # the maths logs below it, without knowing of any run

PROGRESS_SECONDS = 60.0  # seconds between two lines of progress where there is no bar
_active_stages = []  # what is being done, the innermost last: functions -> words
_progress_thread_started = threading.Event()


def make_streams_safe() -> None:
    """Make standard output and error streams that refuse no letter and may be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed when the process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str, stream_name: str = "stdout") -> OSError | None:
    """A line on the terminal, above any bar; -> why it does not take it, if so."""
    stream = getattr(sys, stream_name)
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except OSError as error:
        # Nothing more goes there; Python's own last flush must find a stream that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def to_one_line(text: str) -> str:
    """In one line, without what would move a cursor or has no encoding."""
    letters = " ".join(text.split())
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in letters)
    return "".join(escaped)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record))


class _LogFileHandler(logging.FileHandler):
    """A log that cannot be written stops the run, as a checkpoint that cannot does."""

    def handleError(self, record: logging.LogRecord) -> None:
        with os_errors_refused(Path(self.baseFilename)):
            raise


class _SafeTqdm(tqdm):
    """A bar whose terminal may go away."""

    @staticmethod
    def status_printer(file):
        show = tqdm.status_printer(file)

        def show_if_it_can(words):
            with suppress(OSError):
                show(words)

        return show_if_it_can


def open_log(path) -> None:
    """Log to the terminal, and more (what took how long) to the end of the file `path`.

    Raises Refused where it cannot be written."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        with suppress(OSError):  # what it could not write then it cannot now
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
    """Where no bar is seen, a line a minute."""
    while True:
        time.sleep(PROGRESS_SECONDS)
        for words in _active_stages[-1:]:
            with suppress(
                SystemRefusal
            ):  # the next checkpoint will say so, where it can stop the run
                log.info(words())


class StageProgress:
    """A stage, for who watches: `with Stage("cycle 1: select"):`."""

    def __init__(self, stage: str):
        self.stage, self.start_time = stage, time.monotonic()

    def __enter__(self):
        _active_stages.append(self.progress_text)
        return self

    def __exit__(self, *error) -> None:
        _active_stages.remove(self.progress_text)

    def progress_text(self) -> str:
        """What is being done, and for how long."""
        return f"{self.stage}, {format_duration(time.monotonic() - self.start_time)} so far"


class EpochProgressBar(StageProgress):
    """A stage of so many epochs; a progress bar where there is a terminal.

    `with Bar(range(3, 10), "cycle 1: train") as shown: for epoch in shown: ...`"""

    def __init__(self, epochs: range, stage: str):
        super().__init__(stage)
        self.epochs, self.epochs_done, self.postfix = epochs, 0, ""
        self.bar = _SafeTqdm(epochs, desc=stage, leave=False, disable=None)

    def __iter__(self):
        for epoch in self.bar:
            yield epoch
            self.epochs_done += 1

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self.bar.close()

    def set_postfix_str(self, words: str) -> None:
        """What the last epoch gave."""
        self.postfix = words
        self.bar.set_postfix_str(words)

    def progress_text(self) -> str:
        """Stage, epoch, what the last one gave, time left."""
        spent, left = time.monotonic() - self.start_time, len(self.epochs) - self.epochs_done
        epoch = min(self.epochs.start + self.epochs_done + 1, self.epochs.stop)
        line = f"{self.stage}, epoch {epoch} of {self.epochs.stop}"
        line += f", {self.postfix}" if self.postfix else ""
        return line + (
            f", about {format_duration(spent / self.epochs_done * left)} left"
            if self.epochs_done
            else ""
        )


class DownloadProgressBar:
    """A file that arrives: a progress bar, and without a terminal a line a minute.

    `with Arrival("name", begun=0, size=100) as shown: shown.more(30)`, all in bytes."""

    def __init__(self, name: str, initial_bytes: int, total_bytes: int):
        self.name, self.bytes_done, self.total_bytes, self.last_report_time = (
            name,
            initial_bytes,
            total_bytes,
            time.monotonic(),
        )
        units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        shown = {"desc": name, "initial": initial_bytes, "total": total_bytes, **units}
        self.bar = _SafeTqdm(**shown, leave=False, disable=None)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def update(self, count: int) -> None:
        """So many bytes more are here."""
        self.bytes_done += count
        self.bar.update(count)
        if self.bar.disable and time.monotonic() - self.last_report_time > PROGRESS_SECONDS:
            self.last_report_time = time.monotonic()
            print_line(
                f"{self.name}: {100 * self.bytes_done // self.total_bytes} % of {self.total_bytes / 2**20:.1f} MiB"
            )


def format_duration(seconds: float) -> str:
    """In the unit in which people would say it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
