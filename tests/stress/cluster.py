"""Sweeps on a Dask scheduler and two workers of this machine, killed with SIGKILL."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.waiting import current_leases, wait_for

SWEEP, SPLITS = ROOT / "sweep.py", 3
RUNS = "--split 0-2 --arch small_cnn --al-budget 10 --al-nb-cycles 2 --epochs 300"
RUNS += " --al-method coreset --checkpoint-epochs 20"


class Cluster:
    """workers: processes, each with one thread."""

    def __init__(self, folder):
        self.folder, self.file, self.workers = folder, folder / "scheduler.json", []
        words = ("--port", 0, "--host", "127.0.0.1", "--no-dashboard", "--no-show")
        self.scheduler = self._begin("scheduler", *words, "--scheduler-file", self.file)
        wait_for(self._told, self.scheduler, seconds=60)
        self.address = self._told()["address"]

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


def cluster_kills(number: int, seed: int) -> str:
    """So many sweeps on two workers; one of these is killed, then the driver, at random instants.

    Raises AssertionError where a run is not the local pool's to the byte, or a process is left."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        swept(root / "local").wait()
        for turn in range(number):
            survive(root, f"turn{turn}", rng)
    return (
        f"{number} sweeps on two workers, one killed, and then the driver: the local pool's bytes"
    )


def swept(out: Path, *more) -> subprocess.Popen:
    """sweep.py, begun, with its runs below a folder."""
    words = [sys.executable, SWEEP, *RUNS.split(), "--out", out, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, words)), env=environment)


def survive(root: Path, name: str, rng: random.Random) -> None:
    """One sweep of these; `root`/local holds what is to come out."""
    out = root / name
    with cluster(root / f"{name}-dask", workers=2) as dask:
        driver = swept(out, "--dask", dask.address)
        wait_for(lambda: len(current_leases(out)) == 2, driver, seconds=180)
        time.sleep(rng.uniform(0, 2))
        dask.workers[0].kill()
        time.sleep(rng.uniform(0, 6))
        driver.kill()
        driver.wait()
        assert swept(out, "--dask", dask.address).wait() == 0
    wait_for(lambda: not left(out), seconds=180, pause=0.1)
    for path in (found := sorted((root / "local").rglob("config.json"))):
        one, other = path.parent, out / path.parent.relative_to(root / "local")
        assert "finished" in json.loads((other / "config.json").read_text())
        assert_same_run(one, other)
    assert len(found) == len(list(out.rglob("results.csv"))) == SPLITS


def left(out: Path) -> list[str]:
    """Processes that have the folder in their words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(out).encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found
