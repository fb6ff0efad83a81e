"""A Dask cluster's workers for the runs; the folders must be the same on all machines.

Dask gives the run of a worker that died to another.  That it is never done twice at once is the
lease's doing (utils/lease.py): who finds a run in use is sent away, and tries again later.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from sweeps.plan import LOG_TAIL_BYTES, PlannedRun, RunOutcome
from sweeps.threads import THREAD_COUNT_VARIABLE
from utils.errors import SystemRefusal, UserError

ENTRY_SCRIPT = Path(__file__).resolve().with_name("dask_entry.py")
ENVIRONMENT_VARIABLES = (
    THREAD_COUNT_VARIABLE,
    "AL_DATA_ROOT",
    "AL_LABELS_ROOT",
)  # of the environment, where they are set
CONNECT_TIMEOUT_SECONDS = 10.0  # seconds


class DaskWorkerPool:
    """As many runs at once as the workers have threads, each a process beside its worker."""

    has_free_slot = True  # Dask keeps the queue

    def __init__(self, address: str):
        """Raises UserError where Dask is not installed, or nobody answers at the address."""
        try:
            import cloudpickle
            import distributed

            from sweeps import dask_worker
        except ImportError:
            cure = "pip install -r requirements-sweep.txt"
            raise UserError(f"--dask needs the package distributed: {cure}") from None
        # A worker need not have our modules: what has no name there is sent as it is.
        cloudpickle.register_pickle_by_value(dask_worker)
        run = dask_worker.run_subprocess
        self.wait_for_futures, self.run_remotely = distributed.wait, lambda *given: run(*given)
        try:
            self.client = distributed.Client(address, timeout=CONNECT_TIMEOUT_SECONDS)
        except (OSError, ValueError) as error:
            raise UserError(f"--dask {address}: no scheduler answers ({error})") from None
        self.active_runs = {}  # future -> run
        self.environment = {
            name: os.environ[name] for name in ENVIRONMENT_VARIABLES if name in os.environ
        }

    def start_run(self, planned: PlannedRun) -> None:
        words = [str(ENTRY_SCRIPT), *planned.argv]
        given = (words, os.getcwd(), self.environment, LOG_TAIL_BYTES)
        self.active_runs[self.client.submit(self.run_remotely, *given, pure=False)] = planned

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        """Those that are over, as soon as there are any."""
        if not self.active_runs:
            time.sleep(timeout)
            return []
        with suppress(TimeoutError):
            self.wait_for_futures(list(self.active_runs), timeout, return_when="FIRST_COMPLETED")
        if self.client.status != "running":
            raise SystemRefusal(f"the Dask scheduler at {self.client.scheduler.address} is gone")
        return [self._collect_outcome(future) for future in list(self.active_runs) if future.done()]

    def _collect_outcome(self, future) -> RunOutcome:
        planned = self.active_runs.pop(future)
        if future.status == "finished":
            return RunOutcome(planned, *future.result())
        return RunOutcome(planned, 1, f"{future.exception() or future.status}\n")

    def stop_all(self, number: int) -> None:
        """Let go of all: their processes stop as by SIGTERM, on their machines."""
        self.client.cancel(list(self.active_runs))
        self.client.close()
