"""A short form of `make torture`."""

from tests.torture.flips import flips
from tests.torture.kills import CEAL, KINDS, kills

SEED = 7


def test_twenty_kills():
    kinds = (KINDS[-2], f"{CEAL} --ceal-repeat --finetuning --al-method coreset")
    assert kills(20, SEED, kinds).startswith("20 kills of 2 runs")


def test_flipped_bits():
    assert flips(20, SEED, runs=0).startswith("20 flipped bits noticed")
