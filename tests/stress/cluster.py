"""Sweeps on a Dask scheduler and two workers of this machine, killed with SIGKILL."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.archives import write_array_file
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.forked import ForkedCommand
from tests.waiting import current_leases, parent_of, wait_for

SWEEP = ROOT / "sweep.py"
NUM_RUNS = 3
OPTIONS = "--arch small_cnn --al-budget 10 --al-nb-cycles 2 --al-method coreset"
OPTIONS += " --checkpoint-epochs 20"


class Cluster:
    """A scheduler and workers; workers: their processes, each with one thread."""

    def __init__(self, folder: Path):
        self.folder, self.scheduler_file = folder, folder / "scheduler.json"
        self.workers: list[subprocess.Popen] = []
        argv = ("--port", 0, "--host", "127.0.0.1", "--no-dashboard", "--no-show")
        self.scheduler = self._start("scheduler", *argv, "--scheduler-file", self.scheduler_file)
        wait_for(self._read_scheduler_file, self.scheduler)
        self.address = self._read_scheduler_file()["address"]

    def _read_scheduler_file(self) -> dict[str, Any]:
        """Its content; empty until it is completely written."""
        with suppress(OSError, ValueError):
            return json.loads(self.scheduler_file.read_text())
        return {}

    def add_worker(self, around: Sequence[str] = ()) -> None:
        """around: a command that executes the worker, given as its last arguments."""
        argv = ("--no-nanny", "--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1")
        folder = self.folder / f"worker{len(self.workers)}"
        self.workers.append(
            self._start("worker", self.address, *argv, "--local-directory", folder, around=around)
        )

    def wait_for_workers(self) -> None:
        """Until all are connected to the scheduler, so that all get runs."""
        log = self.folder / "dask.txt"
        wait_for(lambda: log.read_text().count("Registered to") >= len(self.workers))

    def _start(self, *argv: object, around: Sequence[str] = ()) -> subprocess.Popen:
        with open(self.folder / "dask.txt", "a") as output:
            return subprocess.Popen(
                [*around, sys.executable, "-m", "dask", *map(str, argv)],
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )


@contextmanager
def start_cluster(folder: Path, num_workers: int) -> Iterator[Cluster]:
    """A cluster that is killed at the end of the block."""
    folder.mkdir(parents=True)
    cluster = Cluster(folder)
    try:
        for _ in range(num_workers):
            cluster.add_worker()
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            process.kill()
            process.wait()


def kill_workers(num_sweeps: int, seed: int, epochs: int = 300, num_runs: int = NUM_RUNS) -> str:
    """Kill one of two workers and then the driver of each sweep, at random moments.

    epochs: per cycle of each run; num_runs: of each sweep, at least one per worker.

    Raises AssertionError if a run differs from that of the local pool, or if a process is left."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_array_file(root / "few.npz")
        words = ("--dataset", "arrays", "--data-root", data)
        words += ("--split", f"0-{num_runs - 1}", "--epochs", epochs)
        assert start_sweep(root / "local", *words).wait() == 0
        for number in range(num_sweeps):
            kill_sweep(root, f"sweep{number}", rng, words, num_runs)
    return (
        f"{num_sweeps} sweeps on two workers, with one worker and then the driver killed: all "
        "bitwise equal to the local pool"
    )


def start_sweep(out: Path, *argv: object) -> ForkedCommand:
    """Starts sweep.py with its runs below a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return ForkedCommand(SWEEP, *OPTIONS.split(), "--out", out, *argv, env=environment)


def kill_sweep(
    root: Path, name: str, rng: random.Random, words: Sequence[object], num_runs: int
) -> None:
    """One sweep of `num_runs` runs with kills; root/local has those of these words."""
    out, local = root / name, root / "local"
    with start_cluster(root / f"{name}-dask", num_workers=2) as cluster:
        cluster.wait_for_workers()
        driver = start_sweep(out, *words, "--dask", cluster.address)
        wait_for(lambda: has_run(cluster.workers[0], out), driver)
        time.sleep(rng.uniform(0, 2))
        cluster.workers[0].kill()
        time.sleep(rng.uniform(0, 6))
        driver.kill()
        driver.wait()
        assert start_sweep(out, *words, "--dask", cluster.address).wait() == 0
    wait_for(lambda: not find_processes(out), pause=0.1)
    configs = sorted(local.rglob("config.json"))
    for path in configs:
        expected, actual = path.parent, out / path.parent.relative_to(local)
        assert "finished" in json.loads((actual / "config.json").read_text())
        assert_same_run(expected, actual)
    assert len(configs) == len(list(out.rglob("results.csv"))) == num_runs


def has_run(worker: subprocess.Popen, out: Path) -> bool:
    """Whether a process that a worker has started owns the folder of a run."""
    for path in current_leases(out):
        with suppress(OSError, ValueError):  # it is being released
            if parent_of(json.loads(path.read_text())["pid"]) == worker.pid:
                return True
    return False


def find_processes(out: Path) -> list[str]:
    """Ids of the processes that have the folder among their arguments."""
    ids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(out).encode() in path.read_bytes().split(b"\0"):
                ids.append(path.parent.name)
    return ids
