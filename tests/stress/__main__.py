"""What a run must survive: python -m tests.stress [NAME ...] [--seed S] [--part P]

kills: 200 at random instants; flips: 1,000 bits; fight: six processes for one folder, 100 rounds,
on one host and on six; room: 30 sizes of a disk and of files; cluster: ten sweeps on two workers.
--part 0.1 does a tenth of each.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.stress.bit_flips import flips
from tests.stress.cluster import cluster_kills
from tests.stress.disk_full import room
from tests.stress.kills import kills
from tests.stress.lock_contention import fight


def fights(rounds: int, seed: int) -> str:
    """A fight of processes of one host, and a shorter one of six hosts."""
    words = []
    with tempfile.TemporaryDirectory() as folder:
        for hosts, number in ((False, rounds), (True, -(-rounds // 10))):
            found = fight(Path(folder, f"fight{hosts}"), processes=6, rounds=number, hosts=hosts)
            told = ", ".join(f"{number} {word}" for word, number in found.items())
            words.append(f"{'six hosts' if hosts else 'one host'}: {told}")
    return f"six processes, never two at once ({'; '.join(words)})"


TORTURES = {
    "flips": (flips, 1000),
    "fight": (fights, 100),
    "room": (room, 30),
    "kills": (kills, 200),
    "cluster": (cluster_kills, 10),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.stress", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TORTURES))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--part", type=float, default=1.0)
    args = parser.parse_args()
    if unknown := set(args.names) - set(TORTURES):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(TORTURES)}")
    for name in args.names or TORTURES:
        torture, number = TORTURES[name]
        begin = time.monotonic()
        told = torture(max(round(number * args.part), 1), args.seed)
        print(f"{name}, seed {args.seed}: {told}; {time.monotonic() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
