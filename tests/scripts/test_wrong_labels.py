"""The study of wrong labels: its draws, its solver, and the tables that the docs print."""

import numpy as np
import pytest
import torch

from scripts.studies import wrong_labels, wrong_labels_runs
from tests.conftest import ROOT
from utils.diffusion import DiffusionSolver
from utils.graph import affinity

RESULTS = ROOT / "scripts" / "studies" / "results"


@pytest.mark.parametrize("share, count", [(0.1, 2), (0.2, 4), (0.01, 1)])
def test_as_many_labels_are_wrong_as_said(share, count):
    labels = np.arange(20) % 4
    wrong = wrong_labels.draw_wrong(labels, share, 4, seed=3)
    assert (wrong != labels).sum() == count and set(wrong.tolist()) <= {0, 1, 2, 3}
    assert (wrong == wrong_labels.draw_wrong(labels, share, 4, seed=3)).all()


def test_the_inverse_solves_the_diffusion():
    W = affinity(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), k=5)
    sides = np.eye(60, 3, dtype=np.float32)
    expected = DiffusionSolver(W, wrong_labels.ALPHA).solve(sides)
    np.testing.assert_allclose(wrong_labels.DenseSolver(W).solve(sides), expected, atol=1e-4)


def test_predictions_for_cleanlab_do_not_know_the_label():
    """A point between copies of another class: its own label has no share."""
    x = np.array([[1.0, 0], [1, 0.01], [1, 0.02], [0, 1], [0.01, 1]])
    labels = np.array([0, 1, 1, 2, 2])
    probs = wrong_labels.predict_knn(x, labels, 3)
    assert probs[0].tolist() == [0, 0.5, 0.5] and (probs.sum(axis=1) == 1).all()
    cross_validated = wrong_labels.predict_lr(x, labels, 3)
    assert cross_validated[0, 0] == 0  # the only label of its class


def test_the_tables_of_the_docs_are_those_of_the_results(capsys):
    page = (ROOT / "docs" / "wrong_labels.md").read_text().splitlines()
    wrong_labels.print_summary(RESULTS / "wrong_labels.csv")
    printed = set(capsys.readouterr().out.splitlines())
    wrong_labels_runs.print_table(wrong_labels_runs.read_rows(RESULTS / "wrong_labels_runs.csv"))
    printed |= set(capsys.readouterr().out.splitlines())
    data = ("digits, simclr", "mnist5k, encoder", "fashion5k, encoder", "texture, table",
            "segment, table", "all")  # fmt: skip
    names = (*wrong_labels.RANKINGS, *data, "10", "50", "100")
    rows = [line for line in page if line.startswith(tuple(f"| {name} |" for name in names))]
    assert len(rows) > 50 and set(rows) <= printed
