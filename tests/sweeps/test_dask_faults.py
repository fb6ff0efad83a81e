"""Dask workers that cannot execute runs, threads of a run, and a scheduler that is killed."""

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sweeps import dask_entry, dask_worker
from sweeps.dask_worker import THREAD_COUNT_VARIABLES, RemoteRun, find_trouble, thread_counts
from tests.conftest import ROOT
from tests.forked import ForkedCommand
from tests.stress.cluster import start_cluster
from tests.waiting import current_leases, files_below, wait_for

SWEEP = ROOT / "sweep.py"
SHORT = ["--arch", "small_cnn", "--al-budget", "10", "--al-nb-cycles", "1", "--epochs", "1"]


@pytest.fixture
def remote(tmp_path):
    """What a driver sends, with a token in the folder of the runs."""
    (tmp_path / "script.py").write_text("print('done')")
    (tmp_path / "token").write_text("t")
    arguments, folder = [str(tmp_path / "script.py")], str(tmp_path)
    return RemoteRun(arguments, folder, {}, f"{folder}/token", "t", 76, 1000)


def test_what_a_worker_lacks(remote, tmp_path):
    assert find_trouble(remote) == ""
    assert "not the folder of the sweep" in find_trouble(remote._replace(token="another"))
    assert "not the folder of the sweep" in find_trouble(remote._replace(token_file="/no/token"))
    assert "it has no /no/folder" in find_trouble(remote._replace(folder="/no/folder"))
    assert "it has no /no/main" in find_trouble(remote._replace(arguments=["/no/main"]))


@pytest.mark.parametrize(
    ("script", "status", "trouble"),
    [
        ("print('done')", 0, ""),
        ("raise SystemExit(1)", 1, ""),
        ("print('it cannot'); raise SystemExit(76)", 76, "it cannot"),
    ],
)
def test_the_status_of_a_script(script, status, trouble, remote, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(script)
    worker = SimpleNamespace(
        address="tcp://1.2.3.4:5",
        get_current_task=lambda: "key",
        state=SimpleNamespace(nthreads=1, tasks={"key": SimpleNamespace(state="executing")}),
    )
    monkeypatch.setattr(dask_worker, "get_worker", lambda: worker)
    found, _, address, reason = dask_worker.execute_run(remote)
    assert (found, address, reason) == (status, "tcp://1.2.3.4:5", trouble)


def test_a_worker_without_the_packages(tmp_path):
    """Python's -S leaves out the installed packages."""
    entry = ROOT / "sweeps" / "dask_entry.py"
    command = [sys.executable, "-S", str(entry), "--help"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.wait() == dask_entry.WORKER_FAULT_STATUS
        assert "it cannot import main_al.py (" in process.stdout.read().splitlines()[-1]


def test_threads_from_the_affinity():
    cores = len(os.sched_getaffinity(0))
    assert thread_counts(1) == dict.fromkeys(THREAD_COUNT_VARIABLES, str(cores))
    assert thread_counts(100 * cores) == dict.fromkeys(THREAD_COUNT_VARIABLES, "1")


def can_hide_folders():
    """Whether a process here may get file systems of its own."""
    words = ["unshare", "-m", "true"]
    return shutil.which("unshare") and not subprocess.run(words, capture_output=True).returncode


def test_a_worker_with_another_folder_of_that_name_and_a_killed_scheduler(tmp_path):
    """Its run goes to the other worker. When the scheduler is killed, the sweep says so in one
    line, and its token is gone."""
    if not can_hide_folders():
        pytest.skip("this user may not have file systems of their own")
    runs = tmp_path / "runs"
    runs.mkdir()
    hide = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs t {runs} && exec "$@"', "sh"]
    with start_cluster(tmp_path / "cluster", 0) as cluster:
        cluster.add_worker(around=hide)
        words = ["--split", "0", *SHORT, "--dask", cluster.address]
        argv = [SWEEP, "--out", runs, *words]
        done = ForkedCommand(*argv)
        done.wait()
        line, last_line = done.stderr.splitlines()
        assert "gets no more runs: its" in line and "is not the folder of the sweep" in line
        assert done.returncode == 1 and "no Dask worker can execute the runs (" in last_line

        cluster.add_worker()
        cluster.wait_for_workers()  # or the sweep gives up before there is a good one
        done = ForkedCommand(*argv)
        done.wait()
        assert done.returncode == 0 and "1 run: 1 finished" in done.stderr, done.stderr
        assert len(files_below(runs, "results.csv")) == 1 and not list(runs.glob(".sweep-*"))

        process = ForkedCommand(*argv, "--epochs", 100_000, "--al-method", "coreset")
        wait_for(lambda: current_leases(runs), process)
        cluster.scheduler.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 1 and "Traceback" not in err, err
        lines = [line for line in err.splitlines() if "gets no more runs" not in line]
        assert len(lines) == 1 and "the Dask scheduler at" in lines[0], err
        assert not list(runs.glob(".sweep-*"))
