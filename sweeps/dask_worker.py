"""The function that a Dask worker calls to execute a run in a process of its own.

This module is sent to the workers by value, so it imports only what every worker has.
"""

import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from distributed import get_worker

POLL_SECONDS = 0.1
# Dask sets all of them to 1 for a worker with a nanny, and torch obeys the second as well.
THREAD_COUNT_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RemoteRun(NamedTuple):
    """What the driver sends to a worker.

    arguments: of Python, first the script; folder: to run in; token_file: holds `token` if the
    worker sees the same folders as the driver; worker_fault_status: with which the script says that
    no run can be executed on this machine; max_output_bytes: of the output, from its end."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    token_file: str
    token: str
    worker_fault_status: int
    max_output_bytes: int


def execute_run(run: RemoteRun) -> tuple[int, str, str, str]:
    """Run Python until it ends or its task is cancelled.

    Returns the exit status, the end of the output, the address of this worker, and why it cannot
    execute runs, "" if it can. The standard input of the process is a pipe that closes with this
    worker (sweeps/parent_watch.py), and when the task is cancelled."""
    worker = get_worker()
    if trouble := find_trouble(run):
        return 1, "", worker.address, trouble
    key = worker.get_current_task()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [sys.executable, *run.arguments],
                cwd=run.folder,
                env={**os.environ, **thread_counts(worker.state.nthreads), **run.environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return 1, "", worker.address, f"it cannot start Python ({error.strerror})"
        while process.poll() is None:
            task = worker.state.tasks.get(key)
            if process.stdin and (task is None or task.state == "cancelled"):
                process.stdin.close()
                process.stdin = None
            time.sleep(POLL_SECONDS)
        output.seek(max(0, output.seek(0, os.SEEK_END) - run.max_output_bytes))
        text = output.read().decode(errors="replace")
        is_fault = process.returncode == run.worker_fault_status
        trouble = "".join(text.splitlines()[-1:]) if is_fault else ""
        return process.returncode, text, worker.address, trouble


def find_trouble(run: RemoteRun) -> str:
    """Why no run can be executed on this machine; "" if it can."""
    for path in (run.arguments[0], run.folder):
        if not os.path.exists(path):
            return f"it has no {path}"
    try:
        with open(run.token_file) as file:
            if file.read() == run.token:
                return ""
    except OSError:
        pass
    return f"its {os.path.dirname(run.token_file)} is not the folder of the sweep"


def thread_counts(num_runs: int) -> dict[str, str]:
    """The environment of a run that has this worker's cores for itself and num_runs - 1 others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return dict.fromkeys(THREAD_COUNT_VARIABLES, str(max(1, (cores or 1) // num_runs)))
