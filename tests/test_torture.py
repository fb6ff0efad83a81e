"""A short form of `make torture`."""

import sys

from tests.torture.flips import flips
from tests.torture.kills import kills

SEED = 7


def test_twenty_kills():
    told = kills(20, SEED)
    print(f"seed {SEED}: {told}", file=sys.stderr)
    assert told.startswith("20 kills of 20 runs")


def test_flipped_bits():
    assert flips(20, SEED, runs=1).startswith("20 flipped bits noticed")
