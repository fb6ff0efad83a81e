"""A Dask scheduler and its workers on this machine, as processes that can be killed."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress


class Cluster:
    """workers: processes, each with one thread."""

    def __init__(self, folder):
        self.folder, self.file, self.workers = folder, folder / "scheduler.json", []
        words = ("--port", 0, "--host", "127.0.0.1", "--no-dashboard", "--no-show")
        self.scheduler = self._begin("scheduler", *words, "--scheduler-file", self.file)
        until = time.monotonic() + 60
        while not (told := self._told()):
            assert time.monotonic() < until and self.scheduler.poll() is None
            time.sleep(0.1)
        self.address = told["address"]

    def _told(self) -> dict | None:
        with suppress(OSError, ValueError):
            return json.loads(self.file.read_text())

    def add_worker(self) -> subprocess.Popen:
        words = ("--no-nanny", "--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1")
        words += ("--local-directory", self.folder / f"worker{len(self.workers)}")
        self.workers.append(self._begin("worker", self.address, *words))
        return self.workers[-1]

    def _begin(self, *words) -> subprocess.Popen:
        with open(self.folder / "dask.txt", "a") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, words)],
                stdout=said,
                stderr=said,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )


@contextmanager
def cluster(folder, workers: int):
    """A cluster for as long as the `with`."""
    folder.mkdir(parents=True)
    found = Cluster(folder)
    try:
        for _ in range(workers):
            found.add_worker()
        yield found
    finally:
        for process in (*found.workers, found.scheduler):
            process.kill()
            process.wait()
