"""Damaged sweep files: one line with the place, or runs."""

from hypothesis import given
from hypothesis import strategies as st

from experiment.config import SCHEMA
from sweeps import plan, yaml_file
from sweeps.values import options_by_name
from tests.damage import Reader, read_damaged
from tests.examples import examples

OWN = b"""
options: {al-budget: 10, epochs: 9}
product:
  split: 0-1
  panel: [{arch: small_cnn}, {arch: sized_cnn}]
runs:
  - al_method: [random, jlp]
  - {al_method: &m coreset, add_ceal: yes, epochs: 5}
"""


@examples(40)
@given(data=st.data())
def test_sweep_files(data):
    def read(folder):
        common, axes = yaml_file.read_sweep_file(folder / "sweep.yaml", options_by_name(SCHEMA))
        return plan.expand_grid(common, axes, plan.axes_from_command_line({}))

    def check(runs):
        assert runs and len({run.argv for run in runs}) == len(runs)

    read_damaged(Reader({"sweep.yaml": OWN}, read, check), data)
