"""Local processes for the runs, warm: forked from one that has imported everything.

What takes seconds to import is imported once, in the process that forks; it never computes, so that
no thread of a library is running when it forks (OpenMP starts its threads with the first parallel
loop, CUDA with the first call).  Each run is a fork of its own and shares nothing else.
"""

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress

import main_al
from sweeps.parent_watch import exit_with_parent
from sweeps.plan import LOG_TAIL_BYTES, PlannedRun, RunOutcome
from utils import signals
from utils.console import print_line

# What main_al.py's parts import only when they are used.
LAZY_MODULES = (
    "torch._dynamo",
    "sklearn.datasets",
    "sklearn.metrics",
    "sklearn.model_selection",
    "torchvision.datasets",
)
STOP_TIMEOUT_SECONDS = 30.0  # seconds in which a run that was asked to stop has saved what it has
POLL_SECONDS = 0.02  # seconds between two looks at who has ended


class LocalWorkerPool:
    """At most `jobs` runs at once, each a process; with gpus, each on one of them."""

    def __init__(self, jobs: int, gpus: list[str]):
        for name in LAZY_MODULES:
            importlib.import_module(name)
        self.free_slots, self.gpus = list(range(jobs)), gpus
        self.active_runs = {}  # process id -> (run, place among the jobs, file of what it says)
        self.pipe_read_end, self._pipe_write_end = os.pipe()

    @property
    def has_free_slot(self) -> bool:
        return bool(self.free_slots)

    def start_run(self, planned: PlannedRun) -> None:
        place = self.free_slots.pop(0)
        output = tempfile.TemporaryFile()  # noqa: SIM115  closed when the run is over
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        # A signal waits until the run is known.  Not by stopping.uninterrupted: the fork would be
        # within it for good.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOP_SIGNALS)
        try:
            if pid := os.fork():
                self.active_runs[pid] = planned, place, output
            else:
                self._run_child(planned, output, gpu)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run_child(self, planned: PlannedRun, output, gpu: str | None) -> None:
        """The run, in the process that was forked for it; it ends here."""
        status = 1
        try:
            os.setsid()  # Ctrl-C comes from who forked, once, and not also from the terminal
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
            status = main_al.main(planned.argv)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        """Those that are over, as soon as there are any."""
        until = time.monotonic() + timeout
        while not (found := self._reap_children()) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return found

    def _reap_children(self) -> list[RunOutcome]:
        found = []
        for pid in list(self.active_runs):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                planned, place, output = self.active_runs.pop(pid)
                self.free_slots.append(place)
                with output:
                    output.seek(max(0, output.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                    said = output.read().decode(errors="replace")
                found.append(RunOutcome(planned, os.waitstatus_to_exitcode(status), said))
        return found

    def stop_all(self, number: int) -> None:
        """Send all a signal and wait for them; who has not saved by then is killed."""
        self._signal_all(number)
        until = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self.active_runs and time.monotonic() < until:
            self.collect_outcomes(1.0)
        if self.active_runs:
            print_line(
                f"runs that did not stop in {STOP_TIMEOUT_SECONDS:.0f} s are killed", "stderr"
            )
            self._signal_all(signal.SIGKILL)
        while self.active_runs:
            self.collect_outcomes(1.0)

    def _signal_all(self, number: int) -> None:
        for pid in self.active_runs:
            os.kill(pid, number)
