"""A short form of `make torture`."""

from tests.stress.bit_flips import flips
from tests.stress.kills import CEAL, KINDS, kills

SEED = 7


def test_six_kills():
    quick = "--initial lp_coverage --al-method badge"
    assert quick in KINDS
    kinds = (quick, f"{CEAL} --ceal-repeat --finetuning --al-method coreset")
    assert kills(6, SEED, kinds).startswith("6 kills of 2 runs")


def test_flipped_bits():
    assert flips(20, SEED, runs=0).startswith("20 flipped bits noticed")
