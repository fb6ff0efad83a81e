"""Passes the runs of a sweep to a pool of workers and reports their outcomes.

A failed run is reported and does not stop the others.  A run that waits for human labels is
reported but has not failed.  A run whose folder another process uses is tried again later.
"""

import shlex
import signal
import time
from collections import deque
from collections.abc import Sized
from contextlib import suppress
from typing import Protocol

from sweeps.plan import PlannedRun, RunOutcome
from sweeps.progress import ProgressLine
from utils.console import to_one_line
from utils.errors import UserError, WaitingForLabels
from utils.files import write_atomically
from utils.lease import FolderInUse
from utils.signals import StoppedBySignal, defer_signals

RETRY_SECONDS = 2.0  # before a run is tried again whose folder was in use


class WorkerPool(Protocol):
    """Executes runs: sweeps.pool.LocalWorkerPool or sweeps.dask_pool.DaskWorkerPool."""

    @property
    def has_free_slot(self) -> bool: ...
    @property
    def active_runs(self) -> Sized: ...
    def start_run(self, planned: PlannedRun, /) -> None: ...
    def collect_outcomes(self, timeout: float, /) -> list[RunOutcome]: ...
    def stop_all(self, number: int, /) -> None: ...
    def close(self) -> None: ...


def select_pending_runs(
    planned: list[PlannedRun], retry_failed: bool
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """The runs to execute, and those that failed in an earlier sweep.

    With retry_failed the latter are among the former."""
    unfinished = [run for run in planned if not run.is_finished()]
    failed = [] if retry_failed else [run for run in unfinished if run.log_path.exists()]
    return [run for run in unfinished if run not in failed], failed


class SweepRunner:
    """Executes runs in a pool of workers, and counts and reports their outcomes."""

    def __init__(self, pool: WorkerPool, runs: list[PlannedRun], progress: ProgressLine):
        self.worker_pool, self.progress = pool, progress
        self.queue = deque(runs)
        self.retry_queue: deque[tuple[float, PlannedRun]] = deque()  # (earliest time, run)
        self.num_failed = self.num_awaiting_labels = 0

    def run_all(self) -> tuple[int, int]:
        """Execute the runs; returns how many failed and how many wait for human labels.

        A signal is passed on to all active runs, and raised again when they have stopped."""
        try:
            while self.queue or self.retry_queue or self.worker_pool.active_runs:
                self._start_runs()
                with defer_signals():
                    outcomes = self.worker_pool.collect_outcomes(self.progress.REFRESH_SECONDS / 5)
                for outcome in outcomes:
                    self._record_outcome(outcome)
                self.progress.update_line(len(self.worker_pool.active_runs), self.num_failed)
        except BaseException as error:
            number = int(signal.SIGTERM)
            if isinstance(error, StoppedBySignal):
                number = error.exit_code - 128
            with defer_signals():
                self.worker_pool.stop_all(number)
            raise
        finally:
            self.progress.clear_line()
            self.worker_pool.close()
        return self.num_failed, self.num_awaiting_labels

    def _start_runs(self) -> None:
        while self.retry_queue and self.retry_queue[0][0] < time.monotonic():
            self.queue.append(self.retry_queue.popleft()[1])
        while self.queue and self.worker_pool.has_free_slot:
            self.worker_pool.start_run(self.queue.popleft())

    def _record_outcome(self, outcome: RunOutcome) -> None:
        planned, lines = outcome.planned_run, outcome.output_tail.splitlines()
        last_line = lines[-1] if lines else "no output"
        if outcome.exit_status == FolderInUse.exit_code:
            self.retry_queue.append((time.monotonic() + RETRY_SECONDS, planned))
            return
        self.progress.num_done += 1
        command = f"main_al.py {shlex.join(planned.argv)}"
        if outcome.exit_status in (0, WaitingForLabels.exit_code):
            with suppress(OSError):
                planned.log_path.unlink(missing_ok=True)
            if outcome.exit_status:
                self.num_awaiting_labels += 1
                self.progress.print_above(to_one_line(f"{command}: {last_line}"))
            return
        self.num_failed += 1
        try:
            write_atomically(planned.log_path, f"{command}\n{outcome.output_tail}".encode())
            log_note = f"log: {planned.log_path}"
        except UserError as error:  # for example because the disk is full
            log_note = str(error)
        message = f"failed with status {outcome.exit_status}: {command}: {last_line}; {log_note}"
        self.progress.print_above(to_one_line(message))
