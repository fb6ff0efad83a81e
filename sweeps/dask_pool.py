"""Executes the runs on the workers of a Dask cluster; folders must have the same paths everywhere.

If a worker dies, Dask gives its run to another one.  The lease of the run folder (utils/lease.py)
prevents two workers from executing one run at the same time: the second is refused and tries again
later.  A worker that cannot execute runs, for example because it sees other folders than this
machine, is named and left out, and its runs go to the others.
"""

import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.dask_entry import WORKER_FAULT_STATUS
from sweeps.plan import LOG_TAIL_BYTES, PlannedRun, RunOutcome
from sweeps.threads import THREAD_COUNT_VARIABLE
from utils.console import print_line, to_one_line
from utils.errors import SystemRefusal, UserError
from utils.files import write_atomically

ENTRY_SCRIPT = Path(__file__).resolve().with_name("dask_entry.py")
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
        self.dask_worker, self.wait_for_futures = dask_worker, distributed.wait
        self.address = address
        # What a lost connection means for the sweep is said in one line; the rest is noise.
        for name in list(logging.root.manager.loggerDict):
            if name.startswith("distributed"):  # each has a level of its own
                logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self.client = distributed.Client(address, timeout=CONNECT_TIMEOUT_SECONDS)
        except (OSError, ValueError) as error:
            raise UserError(f"--dask {address}: no scheduler answers ({error})") from None
        self.active_runs: dict[Any, PlannedRun] = {}  # by Dask's future
        names = (*dask_worker.THREAD_COUNT_VARIABLES, "AL_DATA_ROOT", "AL_LABELS_ROOT")
        self.environment = {name: os.environ[name] for name in names if name in os.environ}
        if threads := os.environ.get(THREAD_COUNT_VARIABLE):  # of every library, as on this machine
            counts = dict.fromkeys(dask_worker.THREAD_COUNT_VARIABLES, threads)
            self.environment = {**counts, **self.environment}
        self.token = secrets.token_hex(16)
        self.token_files: set[Path] = set()
        self.excluded_workers: dict[str, str] = {}  # address -> why it cannot execute runs

    def start_run(self, planned: PlannedRun) -> None:
        """Raises SystemRefusal if no worker is left, or a token cannot be written."""
        dask_worker = self.dask_worker
        remote = dask_worker.RemoteRun(
            [str(ENTRY_SCRIPT), *planned.argv],
            os.getcwd(),
            self.environment,
            str(self._write_token(planned)),
            self.token,
            WORKER_FAULT_STATUS,
            LOG_TAIL_BYTES,
        )
        # By value, as the class and the function are attributes of a module that workers lack.
        submit = self.client.submit
        function = dask_worker.execute_run
        future = submit(lambda: function(remote), pure=False, **self._worker_preference())
        self.active_runs[future] = planned

    def _write_token(self, planned: PlannedRun) -> Path:
        """The file beside the runs by which a worker knows that it sees the same folder."""
        options = planned.options
        folder = Path(options.run_dir).parent if options.run_dir else Path(options.out)
        path = folder.absolute() / f".sweep-{self.token[:8]}"
        if path not in self.token_files:
            write_atomically(path, self.token.encode())
            self.token_files.add(path)
        return path

    def _worker_preference(self) -> dict[str, Any]:
        """Arguments of Client.submit: all workers but the excluded ones, as long as there are any.

        Raises SystemRefusal if there is none."""
        if not self.excluded_workers:
            return {}
        workers = set(self.client.ncores())
        if usable := sorted(workers - set(self.excluded_workers)):
            return {"workers": usable, "allow_other_workers": True}
        reasons = "; ".join(f"{name}: {why}" for name, why in self.excluded_workers.items())
        raise SystemRefusal(f"no Dask worker can execute the runs ({reasons})")

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        """The runs that have ended; waits up to `timeout` seconds for the first.

        Raises SystemRefusal if the scheduler is gone."""
        if not self.active_runs:
            time.sleep(timeout)
            return []
        try:
            with suppress(TimeoutError):
                futures = list(self.active_runs)
                self.wait_for_futures(futures, timeout, return_when="FIRST_COMPLETED")
        except Exception:  # Dask has several types for a lost connection
            if self.client.status == "running":
                raise
        if self.client.status != "running":
            raise SystemRefusal(f"the Dask scheduler at {self.address} is gone")
        ended = [future for future in list(self.active_runs) if future.done()]
        return [outcome for future in ended if (outcome := self._collect_outcome(future))]

    def _collect_outcome(self, future: Any) -> RunOutcome | None:
        """None if the worker could not execute the run, which then goes to another one."""
        planned = self.active_runs.pop(future)
        if future.status != "finished":
            return RunOutcome(planned, 1, f"{future.exception() or future.status}\n")
        status, output_tail, worker, trouble = future.result()
        if not trouble:
            return RunOutcome(planned, status, output_tail)
        if worker not in self.excluded_workers:
            self.excluded_workers[worker] = trouble
            line = f"sweep.py: the Dask worker {worker} gets no more runs: {trouble}"
            print_line(to_one_line(line), "stderr")
        self.start_run(planned)
        return None

    def stop_all(self, number: int) -> None:
        """Cancel all runs; on their machines the processes stop as by SIGTERM."""
        if self.client.status == "running":
            self.client.cancel(list(self.active_runs))

    def close(self) -> None:
        """Remove the tokens and leave the cluster."""
        for path in self.token_files:
            with suppress(OSError):
                path.unlink()
        with suppress(Exception):  # the scheduler may be gone
            self.client.close(timeout=CONNECT_TIMEOUT_SECONDS)
