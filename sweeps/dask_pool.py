"""Executes the runs on the workers of a Dask cluster; folders must have the same paths everywhere.

If a worker dies, Dask gives its run to another one.  The lease of the run folder (utils/lease.py)
prevents two workers from executing one run at the same time: the second is refused and tries again
later.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.plan import LOG_TAIL_BYTES, PlannedRun, RunOutcome
from sweeps.threads import THREAD_COUNT_VARIABLE
from utils.errors import SystemRefusal, UserError

ENTRY_SCRIPT = Path(__file__).resolve().with_name("dask_entry.py")
# Environment variables that are passed on to the workers if they are set.
ENVIRONMENT_VARIABLES = (THREAD_COUNT_VARIABLE, "AL_DATA_ROOT", "AL_LABELS_ROOT")
CONNECT_TIMEOUT_SECONDS = 10.0


class DaskWorkerPool:
    """Executes as many runs at once as the workers have threads, each in its own process."""

    has_free_slot = True  # Dask has its own queue

    def __init__(self, address: str):
        """Raises UserError if Dask is not installed or no scheduler answers at the address."""
        try:
            import cloudpickle
            import distributed

            from sweeps import dask_worker
        except ImportError:
            cure = "pip install --group sweeps"
            raise UserError(f"--dask needs the package distributed: {cure}") from None
        # A worker may not have our modules, so the function is sent by value.
        cloudpickle.register_pickle_by_value(dask_worker)
        run_subprocess = dask_worker.run_subprocess
        self.wait_for_futures = distributed.wait
        self.run_remotely = lambda *arguments: run_subprocess(*arguments)
        self.address = address
        try:
            self.client = distributed.Client(address, timeout=CONNECT_TIMEOUT_SECONDS)
        except (OSError, ValueError) as error:
            raise UserError(f"--dask {address}: no scheduler answers ({error})") from None
        self.active_runs: dict[Any, PlannedRun] = {}  # by Dask's future
        self.environment = {
            name: os.environ[name] for name in ENVIRONMENT_VARIABLES if name in os.environ
        }

    def start_run(self, planned: PlannedRun) -> None:
        command = [str(ENTRY_SCRIPT), *planned.argv]
        arguments = (command, os.getcwd(), self.environment, LOG_TAIL_BYTES)
        self.active_runs[self.client.submit(self.run_remotely, *arguments, pure=False)] = planned

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        """The runs that have ended; waits up to `timeout` seconds for the first.

        Raises SystemRefusal if the scheduler is gone."""
        if not self.active_runs:
            time.sleep(timeout)
            return []
        with suppress(TimeoutError):
            self.wait_for_futures(list(self.active_runs), timeout, return_when="FIRST_COMPLETED")
        if self.client.status != "running":
            raise SystemRefusal(f"the Dask scheduler at {self.address} is gone")
        return [self._collect_outcome(future) for future in list(self.active_runs) if future.done()]

    def _collect_outcome(self, future: Any) -> RunOutcome:
        planned = self.active_runs.pop(future)
        if future.status == "finished":
            return RunOutcome(planned, *future.result())
        return RunOutcome(planned, 1, f"{future.exception() or future.status}\n")

    def stop_all(self, number: int) -> None:
        """Cancel all runs; on their machines the processes stop as by SIGTERM."""
        self.client.cancel(list(self.active_runs))
        self.client.close()
