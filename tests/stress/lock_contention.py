"""Processes that fight for one folder and are killed at random moments: never two own it at once.

    python -m tests.stress.lock_contention [--processes 6] [--rounds 100] [--hosts]

Each process gets the lease so many times.  Of four rounds two end well, one with a kill -9 of the
owner, and in one a kill -9 is on its way from before it asks for the lease.  With --hosts every
process is on a host of its own, where only time tells that an owner is dead, and owners also fall
asleep for longer than it takes.

Two witnesses: the journal, to whose end (O_APPEND) owners write "begin" and "end": nobody may write
anything after somebody else's "begin"; and a file that each owner locks (flock): the kernel, which
knows of no lease, must never refuse it.
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
EXPIRES = 2.0  # seconds, of hosts that are told dead by time


def fight(folder: Path, *, processes: int, rounds: int, hosts: bool = False) -> dict:
    """Let them fight; -> how many rounds began, ended, were killed, and were found lost.

    Raises AssertionError where two owned the folder at once, or a process failed."""
    folder.mkdir(parents=True)
    (folder / "journal").touch()
    running = {}
    try:
        while not all_done(folder, running, processes, rounds, int(hosts)):
            time.sleep(0.01)
    finally:
        for process in running.values():
            process.kill()
    return count((folder / "journal").read_text().splitlines())


def all_done(folder, running, processes, rounds, hosts) -> bool:
    """Start who has rounds left and does not run; whether there is none, and nobody runs."""
    done = True
    for name in range(processes):
        before = running.get(name)
        if before and before.poll() is None:
            done = False
            continue
        assert before is None or before.returncode in (0, -signal.SIGKILL), f"{name} failed"
        begun = (folder / "journal").read_text().count(f"begin {name} ")
        if begun < rounds:
            done = False
            running[name] = start(folder, name, rounds - begun, hosts)
    return done


def start(folder: Path, name: int, rounds: int, hosts: int) -> subprocess.Popen:
    words = [folder, name, rounds, hosts]
    code = (
        "import sys; from tests.stress.lock_contention import take_turns; take_turns(*sys.argv[1:])"
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=ROOT)


def count(lines: list[str]) -> dict:
    """Check the journal."""
    found, owner = {"begin": 0, "end": 0, "lost": 0}, None
    for line in lines:
        word, name, process = line.split()
        found[word] += 1
        if word == "begin":
            owner = (name, process)
        elif word == "end":
            assert owner == (name, process), f"{line}, while {owner} owned the folder"
            owner = None
    found["killed"] = found["begin"] - found["end"] - found["lost"]
    return found


def take_turns(folder: str, name: str, rounds: str, hosts: str) -> None:
    """One process: rounds of getting, holding and leaving the folder, or of dying in between."""
    rng = random.Random()
    if hosts == "1":
        pretend(f"host{name}")
    for _ in range(int(rounds)):
        fate = rng.choice(["end", "end", "die", "any moment", *["sleep"] * int(hosts)])
        if fate == "any moment":
            threading.Timer(rng.expovariate(200), die).start()
        one_round(Path(folder), name, fate, rng)


def pretend(host: str) -> None:
    """Be on another host, which is told dead soon."""
    lease.host_info = lambda: {"host": host, "boot": host, "pids": 0}
    lease.EXPIRY_SECONDS, lease.RENEWAL_SECONDS = EXPIRES, EXPIRES / 16


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def one_round(folder: Path, name: str, fate: str, rng: random.Random) -> None:
    def write(word: str) -> None:
        os.write(journal, f"{word} {name} {os.getpid()}\n".encode())

    journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND)
    with obtained(folder, rng) as held, open(folder / "witness", "w") as witness:
        fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: two at once
        write("begin")
        time.sleep(rng.expovariate(200))
        if fate == "die":
            die()
        if fate == "sleep":
            fcntl.flock(witness, fcntl.LOCK_UN)
            sleep_all(EXPIRES * rng.choice([0.6, 0.95, 1.05, 1.5]))
        try:
            held.require_held()
            write("end")
        except UserError:
            write("lost")
    os.close(journal)


def sleep_all(seconds: float) -> None:
    """All threads at once, as in a suspended computer."""
    code = f"sleep {seconds}; kill -CONT {os.getpid()}"
    subprocess.Popen(["sh", "-c", code], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def obtained(folder: Path, rng: random.Random) -> Lease:
    while True:
        try:
            return Lease(folder, "folder")
        except FolderInUse:
            time.sleep(rng.expovariate(200))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--hosts", action="store_true")
    words = vars(parser.parse_args())
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = fight(Path(folder, "fight"), **words)
    told = ", ".join(f"{number} {word}" for word, number in found.items())
    print(f"never two at once: {told}; {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
