"""Stress tests of what a run must survive: python -m tests.stress [NAME ...] [--seed S] [--part P]

kills: 200 kills at random moments; bit_flips: 1,000 flipped bits; lock_contention: six processes
compete for one folder, 100 rounds each, on one host and on six; disk_full: 30 sizes of a disk and
of files; cluster: ten sweeps on two workers that are killed.  --part 0.1 does a tenth of each.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable

from tests.stress.bit_flips import flip_bits
from tests.stress.cluster import kill_workers
from tests.stress.disk_full import fill_disk
from tests.stress.kills import kill_runs
from tests.stress.lock_contention import compete_on_one_and_six_hosts

STRESS_TESTS: dict[str, tuple[Callable[[int, int], str], int]] = {  # function, number
    "bit_flips": (flip_bits, 1000),
    "lock_contention": (compete_on_one_and_six_hosts, 100),
    "disk_full": (fill_disk, 30),
    "kills": (kill_runs, 200),
    "cluster": (kill_workers, 10),
}


def main() -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="tests.stress", description=description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STRESS_TESTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--part", type=float, default=1.0, help="fraction of the work (default: 1)")
    args = parser.parse_args()
    if unknown := set(args.names) - set(STRESS_TESTS):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(STRESS_TESTS)}")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the runs
    for name in args.names or STRESS_TESTS:
        stress_test, number = STRESS_TESTS[name]
        begin = time.monotonic()
        outcome = stress_test(max(round(number * args.part), 1), args.seed)
        print(f"{name}, seed {args.seed}: {outcome}; {time.monotonic() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
