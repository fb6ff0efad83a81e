"""The runs of a sweep through a pool: what fails is told and stops nothing else, what waits for a
person's labels is told and no failure, and what another process works at is looked at again
later."""

import signal
import time
from collections import deque
from contextlib import suppress

from sweeps.plan import PlannedRun, RunOutcome
from sweeps.progress import ProgressLine
from utils.console import to_one_line
from utils.errors import UserError, WaitingForLabels
from utils.files import write_atomically
from utils.lease import IN_USE_PHRASE
from utils.signals import StoppedBySignal, defer_signals

RETRY_SECONDS = 2.0  # seconds until a run that another process works at is tried again


def select_pending_runs(
    planned: list[PlannedRun], retry_failed: bool
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """-> the runs to do, and those that failed in an earlier sweep, which are not tried again."""
    left = [run for run in planned if not run.is_finished()]
    failed = [] if retry_failed else [run for run in left if run.log_path.exists()]
    return [run for run in left if run not in failed], failed


class SweepRunner:
    """Runs on their way through a pool (pool.LocalPool or on_dask.DaskPool)."""

    def __init__(self, pool, runs: list[PlannedRun], progress: ProgressLine):
        self.worker_pool, self.progress = pool, progress
        self.queue = deque(runs)
        self.retry_queue = deque()  # (when, run), of what another process works at
        self.num_failed = self.num_awaiting_labels = 0

    def run_all(self) -> tuple[int, int]:
        """Do them; -> how many failed, and how many wait for a person's labels.  A signal is sent
        on to all that run, and raised when they have stopped."""
        try:
            while self.queue or self.retry_queue or self.worker_pool.active_runs:
                self._start_runs()
                with defer_signals():
                    ended = self.worker_pool.collect_outcomes(self.progress.REFRESH_SECONDS / 5)
                for each in ended:
                    self._record_outcome(each)
                self.progress.update_line(len(self.worker_pool.active_runs), self.num_failed)
        except BaseException as error:
            stopped = isinstance(error, StoppedBySignal)
            with defer_signals():
                self.worker_pool.stop_all(error.status - 128 if stopped else signal.SIGTERM)
            raise
        finally:
            self.progress.clear_line()
        return self.num_failed, self.num_awaiting_labels

    def _start_runs(self) -> None:
        while self.retry_queue and self.retry_queue[0][0] < time.monotonic():
            self.queue.append(self.retry_queue.popleft()[1])
        while self.queue and self.worker_pool.has_free_slot:
            self.worker_pool.start_run(self.queue.popleft())

    def _record_outcome(self, ended: RunOutcome) -> None:
        planned, last = (
            ended.planned_run,
            (ended.output_tail.splitlines() or ["it said nothing"])[-1],
        )
        if ended.exit_status and IN_USE_PHRASE in last:
            self.retry_queue.append((time.monotonic() + RETRY_SECONDS, planned))
            return
        self.progress.num_done += 1
        head = f"main_al.py {' '.join(planned.argv)}"
        if ended.exit_status in (0, WaitingForLabels.exit_code):
            with suppress(OSError):
                planned.log_path.unlink(missing_ok=True)
            if ended.exit_status:
                self.num_awaiting_labels += 1
                self.progress.print_above(to_one_line(f"{head}: {last}"))
            return
        self.num_failed += 1
        try:
            write_atomically(planned.log_path, f"{head}\n{ended.output_tail}".encode())
            where = f"log: {planned.log_path}"
        except UserError as error:  # a full disk, for one
            where = str(error)
        words = f"failed with status {ended.exit_status}: {head}: {last}; {where}"
        self.progress.print_above(to_one_line(words))
