"""The function that a Dask worker calls to execute a run in a process of its own.

This module is sent to the workers by value, so it imports only what every worker has.
"""

import os
import subprocess
import sys
import tempfile
import time

from distributed import get_worker

POLL_SECONDS = 0.1


def run_subprocess(
    arguments: list[str], folder: str, environment: dict[str, str], max_output_bytes: int
) -> tuple[int, str]:
    """Run Python with these arguments in a folder, until it ends or its task is cancelled.

    Returns the exit status and the end of the output.  The standard input of the process is a pipe
    that closes with this worker (sweeps/parent_watch.py), and when the task is cancelled."""
    worker = get_worker()
    key = worker.get_current_task()
    threads = max(1, (os.cpu_count() or 1) // worker.state.nthreads)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while process.poll() is None:
            task = worker.state.tasks.get(key)
            if process.stdin and (task is None or task.state == "cancelled"):
                process.stdin.close()
                process.stdin = None
            time.sleep(POLL_SECONDS)
        output.seek(max(0, output.seek(0, os.SEEK_END) - max_output_bytes))
        return process.returncode, output.read().decode(errors="replace")
