"""What a Dask worker does for a run: a process of its own, for as long as somebody wants it.

This module is sent to the workers as it is, so it needs nothing but what they have.
"""

import os
import subprocess
import sys
import tempfile
import time

from distributed import get_worker

POLL_SECONDS = 0.1  # seconds between two looks at the process


def run_subprocess(words: list[str], folder: str, environment: dict, kept: int) -> tuple[int, str]:
    """Run Python with these words in that folder, until it ends or nobody waits for it any more,
    who asked being gone; -> its status and the last of what it said, `kept` bytes at most.

    Its standard input is a pipe that closes with this worker (sweeps/parent_watch.py)."""
    worker = get_worker()
    key = worker.get_current_task()
    share = max(1, (os.cpu_count() or 1) // worker.state.nthreads)
    around = {**os.environ, "OMP_NUM_THREADS": str(share), **environment}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=around,
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
        output.seek(max(0, output.seek(0, os.SEEK_END) - kept))
        return process.returncode, output.read().decode(errors="replace")
