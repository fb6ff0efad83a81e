"""The runs of a sweep through a pool: what fails is told and stops nothing else, what waits for a
person's labels is told and no failure, and what another process works at is looked at again
later."""

import signal
import time
from collections import deque
from contextlib import suppress

from sweeps.plan import Ended, Planned
from sweeps.progress import Progress
from utils.console import one_line
from utils.errors import UserError, Waiting
from utils.files import write_atomically
from utils.lease import IN_USE
from utils.signals import Stopped, uninterrupted

AGAIN = 2.0  # seconds until a run that another process works at is tried again


def sorted_out(planned: list[Planned], retry_failed: bool) -> tuple[list[Planned], list[Planned]]:
    """-> the runs to do, and those that failed in an earlier sweep, which are not tried again."""
    left = [run for run in planned if not run.finished()]
    failed = [] if retry_failed else [run for run in left if run.log.exists()]
    return [run for run in left if run not in failed], failed


class Drive:
    """Runs on their way through a pool (pool.LocalPool or on_dask.DaskPool)."""

    def __init__(self, pool, runs: list[Planned], progress: Progress):
        self.pool, self.progress = pool, progress
        self.waiting = deque(runs)
        self.later = deque()  # (when, run), of what another process works at
        self.failed = self.asking = 0

    def all(self) -> tuple[int, int]:
        """Do them; -> how many failed, and how many wait for a person's labels.  A signal is sent
        on to all that run, and raised when they have stopped."""
        try:
            while self.waiting or self.later or self.pool.running:
                self._start()
                with uninterrupted():
                    ended = self.pool.ended(self.progress.LOOK / 5)
                for each in ended:
                    self._book(each)
                self.progress.show(len(self.pool.running), self.failed)
        except BaseException as error:
            stopped = isinstance(error, Stopped)
            with uninterrupted():
                self.pool.stop(error.status - 128 if stopped else signal.SIGTERM)
            raise
        finally:
            self.progress.close()
        return self.failed, self.asking

    def _start(self) -> None:
        while self.later and self.later[0][0] < time.monotonic():
            self.waiting.append(self.later.popleft()[1])
        while self.waiting and self.pool.room:
            self.pool.start(self.waiting.popleft())

    def _book(self, ended: Ended) -> None:
        planned, last = ended.planned, (ended.said.splitlines() or ["it said nothing"])[-1]
        if ended.status and IN_USE in last:
            self.later.append((time.monotonic() + AGAIN, planned))
            return
        self.progress.done += 1
        head = f"main_al.py {' '.join(planned.words)}"
        if ended.status in (0, Waiting.status):
            with suppress(OSError):
                planned.log.unlink(missing_ok=True)
            if ended.status:
                self.asking += 1
                self.progress.say(one_line(f"{head}: {last}"))
            return
        self.failed += 1
        try:
            write_atomically(planned.log, f"{head}\n{ended.said}".encode())
            where = f"log: {planned.log}"
        except UserError as error:  # a full disk, for one
            where = str(error)
        words = f"failed with status {ended.status}: {head}: {last}; {where}"
        self.progress.say(one_line(words))
