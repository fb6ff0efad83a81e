"""What a run says while it works: log lines and progress bars."""

import logging
import sys

from tqdm import tqdm

log = logging.getLogger("al")  # the maths logs below it, without knowing of any run


class _BarSafeHandler(logging.Handler):
    """Log lines on standard output that do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def open_log(path) -> None:
    """Log to the terminal, and more (what took how long) to the end of the file `path`."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    console, file = _BarSafeHandler(), logging.FileHandler(path)
    console.setLevel(logging.INFO)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for handler in (console, file):
        log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False


def bar(iterable, stage: str, **more) -> tqdm:
    """A progress bar that goes away when done and stays away where there is no terminal."""
    return tqdm(iterable, desc=stage, leave=False, disable=None, **more)
