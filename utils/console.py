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

from utils.errors import Refused
from utils.files import told

log = logging.getLogger("al")  # the maths logs below it, without knowing of any run

EVERY = 60.0  # seconds between two lines of progress where there is no bar
_doing = []  # what is being done, the innermost last: functions -> words
_ticking = threading.Event()


def spare_terminal() -> None:
    """Make standard output and error streams that refuse no letter and may be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed when the process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, name: str = "stdout") -> OSError | None:
    """A line on the terminal, above any bar; -> why it does not take it, if so."""
    stream = getattr(sys, name)
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except OSError as error:
        # Nothing more goes there; Python's own last flush must find a stream that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def one_line(text: str) -> str:
    """In one line, without what would move a cursor or has no encoding."""
    letters = " ".join(text.split())
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in letters)
    return "".join(escaped)


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


class _File(logging.FileHandler):
    """A log that cannot be written stops the run, as a checkpoint that cannot does."""

    def handleError(self, record: logging.LogRecord) -> None:
        with told(Path(self.baseFilename)):
            raise


class _Tqdm(tqdm):
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
    with told(path):
        file = _File(path, encoding="utf-8")
    console = _Terminal()
    console.setLevel(logging.INFO)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for handler in (console, file):
        log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    if not sys.stderr.isatty() and not _ticking.is_set():
        _ticking.set()
        threading.Thread(target=_tick, daemon=True).start()


def _tick() -> None:
    """Where no bar is seen, a line a minute."""
    while True:
        time.sleep(EVERY)
        for words in _doing[-1:]:
            with suppress(Refused):  # the next checkpoint will say so, where it can stop the run
                log.info(words())


class Stage:
    """A stage, for who watches: `with Stage("cycle 1: select"):`."""

    def __init__(self, stage: str):
        self.stage, self.begin = stage, time.monotonic()

    def __enter__(self):
        _doing.append(self.words)
        return self

    def __exit__(self, *error) -> None:
        _doing.remove(self.words)

    def words(self) -> str:
        """What is being done, and for how long."""
        return f"{self.stage}, {duration(time.monotonic() - self.begin)} so far"


class Bar(Stage):
    """A stage of so many epochs; a progress bar where there is a terminal.

    `with Bar(range(3, 10), "cycle 1: train") as shown: for epoch in shown: ...`"""

    def __init__(self, epochs: range, stage: str):
        super().__init__(stage)
        self.epochs, self.done, self.postfix = epochs, 0, ""
        self.shown = _Tqdm(epochs, desc=stage, leave=False, disable=None)

    def __iter__(self):
        for epoch in self.shown:
            yield epoch
            self.done += 1

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self.shown.close()

    def set_postfix_str(self, words: str) -> None:
        """What the last epoch gave."""
        self.postfix = words
        self.shown.set_postfix_str(words)

    def words(self) -> str:
        """Stage, epoch, what the last one gave, time left."""
        spent, left = time.monotonic() - self.begin, len(self.epochs) - self.done
        epoch = min(self.epochs.start + self.done + 1, self.epochs.stop)
        line = f"{self.stage}, epoch {epoch} of {self.epochs.stop}"
        line += f", {self.postfix}" if self.postfix else ""
        return line + (f", about {duration(spent / self.done * left)} left" if self.done else "")


class Arrival:
    """A file that arrives: a progress bar, and without a terminal a line a minute.

    `with Arrival("name", begun=0, size=100) as shown: shown.more(30)`, all in bytes."""

    def __init__(self, name: str, begun: int, size: int):
        self.name, self.done, self.size, self.last = name, begun, size, time.monotonic()
        units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        shown = {"desc": name, "initial": begun, "total": size, **units}
        self.shown = _Tqdm(**shown, leave=False, disable=None)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.shown.close()

    def more(self, count: int) -> None:
        """So many bytes more are here."""
        self.done += count
        self.shown.update(count)
        if self.shown.disable and time.monotonic() - self.last > EVERY:
            self.last = time.monotonic()
            say(f"{self.name}: {100 * self.done // self.size} % of {self.size / 2**20:.1f} MiB")


def duration(seconds: float) -> str:
    """In the unit in which people would say it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
