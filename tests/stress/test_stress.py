"""A short form of `make stress`."""

from tests.stress.bit_flips import flip_bits
from tests.stress.kills import CEAL, KINDS, kill_runs

SEED = 7


def test_four_kills():
    kind = "--initial lp_coverage --al-method badge"
    assert kind in KINDS
    kinds = (kind, f"{CEAL} --ceal-repeat --finetuning --al-method coreset")
    assert kill_runs(4, SEED, kinds).startswith("4 kills of 2 runs")


def test_flipped_bits():
    assert flip_bits(20, SEED, num_runs=0).startswith("20 flipped bits detected")
