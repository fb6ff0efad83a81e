"""Executes the runs on this machine: each is a fork of a process that has imported everything.

What takes seconds to import is imported once, in the parent.  The parent never computes anything,
so no library has a running thread when it forks (OpenMP starts its threads with the first parallel
loop, CUDA with the first call).  Each run is a fork of its own, and runs share nothing else.
"""

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from typing import IO, NamedTuple, NoReturn

import main_al
from sweeps.parent_watch import exit_with_parent
from sweeps.plan import LOG_TAIL_BYTES, PlannedRun, RunOutcome
from utils import signals
from utils.console import print_line

# Modules that main_al.py and its packages import only when they are used.
LAZY_MODULES = (
    "torch._dynamo",
    "sklearn.datasets",
    "sklearn.metrics",
    "sklearn.model_selection",
    "torchvision.datasets",
)
STOP_TIMEOUT_SECONDS = 30.0  # for a run to save its state after a signal
POLL_SECONDS = 0.02


class _ActiveRun(NamedTuple):
    planned_run: PlannedRun
    slot: int
    output: IO[bytes]


class LocalWorkerPool:
    """Executes up to `jobs` runs at once, each in a process; with gpus, each on one of these."""

    def __init__(self, jobs: int, gpus: list[str]):
        for name in LAZY_MODULES:
            importlib.import_module(name)
        self.free_slots, self.gpus = list(range(jobs)), gpus
        self.active_runs: dict[int, _ActiveRun] = {}  # by process id
        self.pipe_read_end, self._pipe_write_end = os.pipe()

    @property
    def has_free_slot(self) -> bool:
        return bool(self.free_slots)

    def start_run(self, planned: PlannedRun) -> None:
        slot = self.free_slots.pop(0)
        output = tempfile.TemporaryFile()  # noqa: SIM115  closed when the run ends
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        # A signal waits until the run is in active_runs.  signals.defer_signals cannot be used:
        # the child would never leave its block.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOP_SIGNALS)
        try:
            if pid := os.fork():
                self.active_runs[pid] = _ActiveRun(planned, slot, output)
            else:
                self._run_child(planned, output, gpu)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run_child(self, planned: PlannedRun, output: IO[bytes], gpu: str | None) -> NoReturn:
        """Execute the run in the forked process, and end this process."""
        status = 1
        try:
            os.setsid()  # Ctrl-C then comes only from the parent, not also from the terminal
            signals.exit_on_signal(main_al.PROGRAM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOP_SIGNALS)
            os.close(self._pipe_write_end)
            exit_with_parent(self.pipe_read_end)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            if gpu is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            sys.argv = [main_al.__file__, *planned.argv]
            status = main_al.main(list(planned.argv))
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        """The runs that have ended; waits up to `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        while not (outcomes := self._reap_children()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return outcomes

    def _reap_children(self) -> list[RunOutcome]:
        outcomes = []
        for pid in list(self.active_runs):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if not ended_pid:
                continue
            planned, slot, output = self.active_runs.pop(pid)
            self.free_slots.append(slot)
            with output:
                output.seek(max(0, output.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                output_tail = output.read().decode(errors="replace")
            outcomes.append(RunOutcome(planned, os.waitstatus_to_exitcode(status), output_tail))
        return outcomes

    def stop_all(self, number: int) -> None:
        """Send a signal to all runs and wait for them; runs that take too long are killed."""
        self._signal_all(number)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self.active_runs and time.monotonic() < deadline:
            self.collect_outcomes(1.0)
        if self.active_runs:
            print_line(
                f"killing runs that did not stop within {STOP_TIMEOUT_SECONDS:.0f} s", "stderr"
            )
            self._signal_all(signal.SIGKILL)
        while self.active_runs:
            self.collect_outcomes(1.0)

    def close(self) -> None:
        """Each run has ended, and its output with it."""

    def _signal_all(self, number: int) -> None:
        for pid in self.active_runs:
            os.kill(pid, number)
