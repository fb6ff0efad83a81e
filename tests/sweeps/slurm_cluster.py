"""Sweeps on a real SLURM: its daemons as plain processes of this machine, in a temporary folder.

make slurm. It needs root and slurmctld, slurmd and munged (on Debian: slurm-wlm and munge).
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import main_al
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.waiting import files_below, wait_for

DAEMONS = ("munged", "slurmctld", "slurmd")
MAX_ARRAY_SIZE = 3
OPTIONS = "--dataset digits --arch small_cnn --al-budget 10 --al-nb-cycles 2"
SHORT, LONG, ENDLESS = (f"{OPTIONS} --epochs {epochs}" for epochs in (2, 5000, 10**6))

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
MaxArraySize={max_array_size}
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """One node. Everybody may enter `folder` and those above it, as munged demands."""

    def __init__(self, folder: Path):
        self.folder, self.daemons = folder, []
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o600)
        ports = [_free_port(), _free_port()]
        text = CONFIG.format(
            host=socket.gethostname().split(".")[0],
            port=ports[0],
            node_port=ports[1],
            folder=folder,
            max_array_size=MAX_ARRAY_SIZE,
        )
        (folder / "slurm.conf").write_text(text)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        munge = folder / "munge"
        files = ("pid-file", "log-file", "seed-file")
        words = [f"--{name}={munge}/{name}" for name in files]
        self._start("munged", "-F", f"--key-file={folder}/key", f"--socket={munge}/socket", *words)
        wait_for((munge / "socket").exists, seconds=60)
        self._start("slurmctld", "-D", "-c")
        self.start_node()
        wait_for(lambda: self.ask("sinfo", "-h", "-o", "%t") == "idle", seconds=60, pause=0.2)

    def start_node(self) -> None:
        self.node = self._start("slurmd", "-D", "-c")

    def _start(self, *words: str) -> subprocess.Popen:
        log = open(self.folder / f"{words[0]}.log", "a")  # noqa: SIM115  the daemon keeps it
        self.daemons.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))
        return self.daemons[-1]

    def ask(self, *words: object) -> str:
        command = list(map(str, words))
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else done.stderr.strip()

    def submit(self, script: Path, *options: str) -> str:
        job = self.ask("sbatch", "--parsable", *options, script)
        assert job.isdecimal(), job
        return job

    def states(self, job: str) -> list[str]:
        """State and exit code of each task."""
        records = self.ask("scontrol", "-o", "show", "job", job).splitlines()
        fields = [dict(w.split("=", 1) for w in r.split() if "=" in w) for r in records]
        return [f"{field.get('JobState')} {field.get('ExitCode')}" for field in fields]

    def wait_until(self, job: str, *expected: str) -> None:
        wait_for(lambda: set(self.states(job)) == set(expected), seconds=600, pause=0.5)

    def stop(self) -> None:
        self.ask("scancel", "-u", "root")
        self.ask("scancel", "-s", "KILL", "-f", "-u", "root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    if os.geteuid() or not all(map(shutil.which, DAEMONS)):
        pytest.skip(f"root and {', '.join(DAEMONS)} are needed")
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        yield cluster
        cluster.stop()


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main_al.main([*LONG.split(), "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def write_script(cluster, tmp_path, monkeypatch):
    """sweep.py --slurm with these arguments, in a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def write(*words):
        command = [sys.executable, str(ROOT / "sweep.py"), *words, "--slurm"]
        done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        script = tmp_path / "sweep.sbatch"
        script.write_text(done.stdout)
        return script

    return write


def has_checkpoint(folder):
    return (folder / "checkpoint.pt").exists()


def test_more_runs_than_tasks_and_the_array_submitted_twice(cluster, write_script, tmp_path):
    """The second array waits for the runs of the first, and finds them finished."""
    script = write_script("--out", "runs", "--split", "0-4", *SHORT.split())
    assert f"#SBATCH --array=0-{MAX_ARRAY_SIZE - 1}\n" in script.read_text()
    jobs = [cluster.submit(script), cluster.submit(script)]
    for job in jobs:
        cluster.wait_until(job, "COMPLETED 0:0")
    assert len(files_below(tmp_path / "runs", "results.csv")) == 5
    output = "".join(path.read_text() for path in tmp_path.glob("sweep-*.out"))
    assert output.count("Finished. ") == 5 and output.count("Finished before") == 5


def test_time_limit(cluster, write_script, tmp_path):
    """SIGTERM comes a minute before the limit, and the run saves its state."""
    script = write_script("--run-dir", "run", *ENDLESS.split(), "--checkpoint-epochs", "0")
    job = cluster.submit(script, "--time=2")
    cluster.wait_until(job, "FAILED 143:0")
    assert has_checkpoint(tmp_path / "run")
    assert "stopped by SIGTERM" in (tmp_path / f"sweep-{job}-0.out").read_text()


def test_requeue(cluster, write_script, tmp_path, long_run):
    script = write_script("--run-dir", "run", *LONG.split())
    job = cluster.submit(script)
    wait_for(lambda: has_checkpoint(tmp_path / "run"), seconds=300, pause=0.2)
    cluster.ask("scontrol", "requeue", f"{job}_0")
    cluster.wait_until(job, "PENDING 0:0")
    cluster.wait_until(job, "COMPLETED 0:0")  # SLURM starts it again after two minutes
    assert "resuming at cycle" in (tmp_path / "run" / "log.txt").read_text()
    assert_same_run(long_run, tmp_path / "run")


def test_node_killed_and_back(cluster, write_script, tmp_path, long_run):
    """SLURM gives the task back to its queue while the run goes on; the second start waits for it,
    or goes on where it was killed."""
    script = write_script("--run-dir", "run", *LONG.split())
    job = cluster.submit(script)
    wait_for(lambda: has_checkpoint(tmp_path / "run"), seconds=300, pause=0.2)
    cluster.node.kill()
    cluster.wait_until(job, "PENDING 0:0")  # within half a minute; the run takes longer
    cluster.start_node()
    cluster.wait_until(job, "COMPLETED 0:0")
    assert_same_run(long_run, tmp_path / "run")
