"""Processes compete for the lease of one folder and are killed: two never own it at the same time.

    python -m tests.stress.lock_contention [--processes 6] [--rounds 100] [--hosts]

Each process gets the lease a given number of times.  Of four rounds two end normally, in one the
owner is killed with SIGKILL, and in one a SIGKILL is already under way when the process asks for
the lease.  With --hosts each process pretends to be on its own host, so that only time shows that
an owner is dead, and owners are also suspended for longer than it takes to be declared dead.

There are two independent checks.  Owners append "begin" and "end" to a journal (O_APPEND): after
one owner's "begin" no other may write anything.  And each owner locks a file (flock): the kernel,
which does not know the lease, must never refuse this lock.
"""

import argparse
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from utils import lease
from utils.errors import UserError
from utils.lease import FolderInUse, Lease

ROOT = Path(__file__).resolve().parents[2]
EXPIRY_SECONDS = 2.0  # of a lease whose owner is on another host


def compete(folder: Path, *, processes: int, rounds: int, hosts: bool = False) -> dict[str, int]:
    """Let processes compete, and count the rounds that began, ended, were killed or lost.

    Raises AssertionError if two processes owned the folder at the same time, or if one failed."""
    folder.mkdir(parents=True)
    (folder / "journal").touch()
    running: dict[int, subprocess.Popen] = {}
    try:
        while not start_missing_processes(folder, running, processes, rounds, hosts):
            time.sleep(0.01)
    finally:
        for process in running.values():
            process.kill()
    return check_journal((folder / "journal").read_text().splitlines())


def start_missing_processes(
    folder: Path, running: dict[int, subprocess.Popen], processes: int, rounds: int, hosts: bool
) -> bool:
    """Start each process that has rounds left and is not running; returns whether all are done."""
    all_done = True
    for name in range(processes):
        process = running.get(name)
        if process and process.poll() is None:
            all_done = False
            continue
        assert process is None or process.returncode in (0, -signal.SIGKILL), f"{name} failed"
        rounds_begun = (folder / "journal").read_text().count(f"begin {name} ")
        if rounds_begun < rounds:
            all_done = False
            running[name] = start_process(folder, name, rounds - rounds_begun, hosts)
    return all_done


def start_process(folder: Path, name: int, rounds: int, hosts: bool) -> subprocess.Popen:
    module = "tests.stress.lock_contention"
    code = f"import sys; from {module} import take_turns; take_turns(*sys.argv[1:])"
    argv = map(str, [folder, name, rounds, int(hosts)])
    return subprocess.Popen([sys.executable, "-c", code, *argv], cwd=ROOT)


def check_journal(lines: list[str]) -> dict[str, int]:
    """Count the entries; raises AssertionError if an owner wrote while another one had begun."""
    counts, owner = {"begin": 0, "end": 0, "lost": 0}, None
    for line in lines:
        word, name, process = line.split()
        counts[word] += 1
        if word == "begin":
            owner = (name, process)
        elif word == "end":
            assert owner == (name, process), f"{line}, while {owner} owned the folder"
            owner = None
    counts["killed"] = counts["begin"] - counts["end"] - counts["lost"]
    return counts


def take_turns(folder: str, name: str, rounds: str, hosts: str) -> None:
    """The program of one process; all arguments are text from its command line."""
    rng = random.Random()
    if hosts == "1":
        pretend_host(f"host{name}")
    for _ in range(int(rounds)):
        fate = rng.choice(["end", "end", "die", "die at any time", *["sleep"] * int(hosts)])
        if fate == "die at any time":
            threading.Timer(rng.expovariate(200), die).start()
        take_turn(Path(folder), name, fate, rng)


def pretend_host(host: str) -> None:
    """Make this process appear to be on another host, where leases expire sooner."""
    lease.host_info = lambda: {"host": host, "boot": host, "pids": 0}
    lease.EXPIRY_SECONDS, lease.RENEWAL_SECONDS = EXPIRY_SECONDS, EXPIRY_SECONDS / 16


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def take_turn(folder: Path, name: str, fate: str, rng: random.Random) -> None:
    """Get the lease, own the folder for some milliseconds, and end as `fate` says."""

    def write(word: str) -> None:
        os.write(journal, f"{word} {name} {os.getpid()}\n".encode())

    journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND)
    with acquire(folder, rng) as owned_lease, open(folder / "witness", "w") as witness:
        fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: there are two owners
        write("begin")
        time.sleep(rng.expovariate(200))
        if fate == "die":
            die()
        if fate == "sleep":
            fcntl.flock(witness, fcntl.LOCK_UN)
            suspend(EXPIRY_SECONDS * rng.choice([0.6, 0.95, 1.05, 1.5]))
        try:
            owned_lease.require_held()
            write("end")
        except UserError:
            write("lost")
    os.close(journal)


def suspend(seconds: float) -> None:
    """Stop all threads of this process at once, as when a computer is suspended."""
    code = f"sleep {seconds}; kill -CONT {os.getpid()}"
    subprocess.Popen(["sh", "-c", code], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def acquire(folder: Path, rng: random.Random) -> Lease:
    """Try until the lease is free."""
    while True:
        try:
            return Lease(folder, "folder")
        except FolderInUse:
            time.sleep(rng.expovariate(200))


def compete_on_one_and_six_hosts(rounds: int, seed: int) -> str:
    """Six processes on one host, and a tenth of the rounds on six hosts.

    The seed has no effect: which process is faster decides."""
    descriptions = []
    with tempfile.TemporaryDirectory() as folder:
        for hosts, number in ((False, rounds), (True, -(-rounds // 10))):
            path = Path(folder, f"hosts{hosts}")
            counts = compete(path, processes=6, rounds=number, hosts=hosts)
            words = ", ".join(f"{number} {word}" for word, number in counts.items())
            descriptions.append(f"{'six hosts' if hosts else 'one host'}: {words}")
    return f"six processes, never two owners at once ({'; '.join(descriptions)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=6, help="number of processes")
    parser.add_argument("--rounds", type=int, default=100, help="rounds per process")
    parser.add_argument("--hosts", action="store_true", help="each process on its own host")
    args = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = compete(Path(folder, "contest"), **vars(args))
    words = ", ".join(f"{number} {word}" for word, number in counts.items())
    print(f"never two owners at once: {words}; {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
