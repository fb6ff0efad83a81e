"""Commands as processes of their own that need no time for imports.

Each is a fork of a server that has imported the program once, as in sweeps/pool.py; the imports
take five seconds of a processor.  What a process does before and while it imports the program is
not shown by these: tests of that start Python itself.
"""

import functools
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# The commands, and what their packages import only when it is used.
PRELOADED = (
    "main_al", "embed", "sweeps.cli", "sweeps.pool",
    "torch._dynamo", "sklearn.datasets", "sklearn.metrics", "sklearn.model_selection",
)  # fmt: skip


# multiprocessing looks at all its processes whenever one starts, and only one thread may look.
_LOCK = threading.RLock()


@functools.cache
def fork_server() -> ForkServerContext:
    """Start the server -> the context whose processes fork from it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    with_path = {"PYTHONPATH": str(ROOT)}  # else Python 3.11 does not find the modules
    before = dict(os.environ)
    try:
        os.environ.update(with_path)
        forkserver.ensure_running()
    finally:
        replace_environment(before)
    process = context.Process(target=os.getpid)
    process.start()
    process.join()  # once the imports are done, so that no test measures them
    return context


def replace_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def kill_before(
    event: str, name: str, occurrence: int, signal_number: int = signal.SIGKILL
) -> None:
    """Send this process a signal just before it renames or removes a file.

    event: os.rename or os.remove.
    name: what the file is renamed to, or the file that is removed.
    occurrence: 1 for the first time that this is about to happen, and so on.
    signal_number: SIGKILL ends the process, SIGSTOP suspends it until somebody sends SIGCONT."""
    count = 0

    def hook(audit_event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if audit_event == event and os.path.basename(args[event == "os.rename"]) == name:
            count += 1
            if count == occurrence:
                os.kill(os.getpid(), signal_number)

    sys.addaudithook(hook)


class ForkedCommand:
    """A command that runs: as much of subprocess.Popen as the tests need.

    Standard output and error go to files, so that nothing has to read them meanwhile."""

    def __init__(
        self,
        *argv: Any,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], Any] | None = None,
    ):
        """argv: the file of the command and its arguments.

        prepare: called in the new process before the command; a function of a module."""
        self._outputs = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  read later
        settings = (str(cwd or Path.cwd()), dict(env or os.environ), prepare)
        with _LOCK:
            server = fork_server()
        self._process = server.Process(
            target=_run_command,
            args=([str(word) for word in argv], *settings, *map(_Descriptor, self._outputs)),
            daemon=True,  # killed at the end of the tests, should it still run
        )
        with _LOCK:
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with _LOCK:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise TimeoutExpired(self._process.name, timeout or 0.0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end -> standard output and error."""
        self.wait(timeout)
        return self.stdout, self.stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def stdout(self) -> str:
        """What the command has printed so far."""
        return self._read(0)

    @property
    def stderr(self) -> str:
        """What it has printed to standard error so far."""
        return self._read(1)

    def _read(self, number: int) -> str:
        descriptor = self._outputs[number].fileno()
        # pread leaves the position alone, at which the command goes on writing.
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


class _Descriptor:
    """An open file as an argument of a process."""

    def __init__(self, file: Any):
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_descriptor, (DupFd(self._file.fileno()),)


def _open_descriptor(duplicate: Any) -> int:
    return duplicate.detach()


def _run_command(
    argv: list[str],
    folder: str,
    environment: dict[str, str],
    prepare: Callable[[], Any] | None,
    *outputs: int,
) -> None:
    """As Python starts a file: in this folder, with these variables and the usual handlers."""
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
        os.close(output)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    replace_environment(environment)
    os.chdir(folder)
    if prepare:
        prepare()
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
