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
from sweeps.parent_watch import tie
from sweeps.plan import KEPT, Ended, Planned
from utils import signals
from utils.console import say

# What main_al.py's parts import only when they are used.
LATER = (
    "torch._dynamo",
    "sklearn.datasets",
    "sklearn.metrics",
    "sklearn.model_selection",
    "torchvision.datasets",
)
PATIENCE = 30.0  # seconds in which a run that was asked to stop has saved what it has
LOOK = 0.02  # seconds between two looks at who has ended


class LocalPool:
    """At most `jobs` runs at once, each a process; with gpus, each on one of them."""

    def __init__(self, jobs: int, gpus: list[str]):
        for name in LATER:
            importlib.import_module(name)
        self.free, self.gpus = list(range(jobs)), gpus
        self.running = {}  # process id -> (run, place among the jobs, file of what it says)
        self.reading, self._writing = os.pipe()

    @property
    def room(self) -> bool:
        return bool(self.free)

    def start(self, planned: Planned) -> None:
        place = self.free.pop(0)
        output = tempfile.TemporaryFile()  # noqa: SIM115  closed when the run is over
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        # A signal waits until the run is known.  Not by stopping.uninterrupted: the fork would be
        # within it for good.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
        try:
            if pid := os.fork():
                self.running[pid] = planned, place, output
            else:
                self._be(planned, output, gpu)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _be(self, planned: Planned, output, gpu: str | None) -> None:
        """The run, in the process that was forked for it; it ends here."""
        status = 1
        try:
            os.setsid()  # Ctrl-C comes from who forked, once, and not also from the terminal
            signals.leave_at_once(main_al.PROGRAM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)
            os.close(self._writing)
            tie(self.reading)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            if gpu is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            sys.argv = [main_al.__file__, *planned.words]
            status = main_al.main(planned.words)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    def ended(self, timeout: float) -> list[Ended]:
        """Those that are over, as soon as there are any."""
        until = time.monotonic() + timeout
        while not (found := self._over()) and time.monotonic() < until:
            time.sleep(LOOK)
        return found

    def _over(self) -> list[Ended]:
        found = []
        for pid in list(self.running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                planned, place, output = self.running.pop(pid)
                self.free.append(place)
                with output:
                    output.seek(max(0, output.seek(0, os.SEEK_END) - KEPT))
                    said = output.read().decode(errors="replace")
                found.append(Ended(planned, os.waitstatus_to_exitcode(status), said))
        return found

    def stop(self, number: int) -> None:
        """Send all a signal and wait for them; who has not saved by then is killed."""
        self._kill(number)
        until = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < until:
            self.ended(1.0)
        if self.running:
            say(f"runs that did not stop in {PATIENCE:.0f} s are killed", "stderr")
            self._kill(signal.SIGKILL)
        while self.running:
            self.ended(1.0)

    def _kill(self, number: int) -> None:
        for pid in self.running:
            os.kill(pid, number)
