"""A Dask cluster's workers for the runs; the folders must be the same on all machines.

Dask gives the run of a worker that died to another.  That it is never done twice at once is the
lease's doing (utils/lease.py): who finds a run in use is sent away, and tries again later.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from sweeps.plan import KEPT, Ended, Planned
from sweeps.threads import THREADS
from utils.errors import Refused, UserError

TIED = Path(__file__).resolve().with_name("dask_entry.py")
PASSED = (THREADS, "AL_DATA_ROOT", "AL_LABELS_ROOT")  # of the environment, where they are set
CONNECT = 10.0  # seconds


class DaskPool:
    """As many runs at once as the workers have threads, each a process beside its worker."""

    room = True  # Dask keeps the queue

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
        run = dask_worker.run
        self.wait, self.run = distributed.wait, lambda *given: run(*given)
        try:
            self.client = distributed.Client(address, timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise UserError(f"--dask {address}: no scheduler answers ({error})") from None
        self.running = {}  # future -> run
        self.environment = {name: os.environ[name] for name in PASSED if name in os.environ}

    def start(self, planned: Planned) -> None:
        words = [str(TIED), *planned.words]
        given = (words, os.getcwd(), self.environment, KEPT)
        self.running[self.client.submit(self.run, *given, pure=False)] = planned

    def ended(self, timeout: float) -> list[Ended]:
        """Those that are over, as soon as there are any."""
        if not self.running:
            time.sleep(timeout)
            return []
        with suppress(TimeoutError):
            self.wait(list(self.running), timeout, return_when="FIRST_COMPLETED")
        if self.client.status != "running":
            raise Refused(f"the Dask scheduler at {self.client.scheduler.address} is gone")
        return [self._over(future) for future in list(self.running) if future.done()]

    def _over(self, future) -> Ended:
        planned = self.running.pop(future)
        if future.status == "finished":
            return Ended(planned, *future.result())
        return Ended(planned, 1, f"{future.exception() or future.status}\n")

    def stop(self, number: int) -> None:
        """Let go of all: their processes stop as by SIGTERM, on their machines."""
        self.client.cancel(list(self.running))
        self.client.close()
