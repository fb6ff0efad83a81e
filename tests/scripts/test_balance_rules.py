"""The study of class masses: thinned classes, what rules say, and how far they fall short."""

import csv

import numpy as np
import pytest

from scripts.studies import balance_rules
from scripts.studies.choice_rivals import Case
from semisup.label_propagation import Propagation
from utils.graph import affinity


def blobs(count=40, classes=3):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), count)
    x = np.eye(classes)[labels] * 4 + rng.normal(size=(len(labels), classes))
    return x.astype(np.float32), labels


def test_thinned_classes_are_ten_to_one():
    x, labels = blobs(100)
    thin = balance_rules.thin_classes(Case([x], None, labels, seed=0))
    assert sorted(np.bincount(thin.labels)) == [10, 32, 100]  # 100 / √10 = 31.6
    rows = {tuple(row): label for row, label in zip(x.tolist(), labels, strict=True)}
    assert all(
        rows[tuple(row)] == c for row, c in zip(thin.views[0].tolist(), thin.labels, strict=True)
    )


def test_rules_against_loops_over_edges():
    x, labels = blobs(12)
    W = affinity(x, 4)
    scores = np.random.default_rng(1).dirichlet(np.ones(3), size=36).astype(np.float32)
    found = balance_rules.judge(W, Propagation(labels, np.ones(36), scores), 3)
    dense = W.toarray().astype(float)
    total = dense.sum()
    within = sum(dense[i, j] for i in range(36) for j in range(36) if labels[i] == labels[j])
    ends = [dense[labels == c].sum() / total for c in range(3)]
    agreement = sum(dense[i, j] * (scores[i] @ scores[j]) for i in range(36) for j in range(36))
    certainty = np.mean([sum(p * np.log(p) for p in row) for row in scores.astype(float)])
    mean = scores.astype(float).mean(axis=0)
    assert found["within"] == pytest.approx(within / total)
    assert found["modularity"] == pytest.approx(within / total - np.square(ends).sum())
    assert found["agreement"] == pytest.approx(agreement / total, rel=1e-5)
    assert found["certainty"] == pytest.approx(certainty)
    assert found["information"] == pytest.approx(certainty - mean @ np.log(mean))


def test_shortfall():
    """The better balance over both seeds is none, with 85; the rule takes uniform in the second."""
    rule = "association"
    seeds = [
        {"none": {"accuracy": 80, rule: 2}, "uniform": {"accuracy": 70, rule: 1}},
        {"none": {"accuracy": 90, rule: 2}, "uniform": {"accuracy": 86, rule: 3}},
    ]
    assert balance_rules.shortfall(seeds, rule) == pytest.approx(2)
    assert balance_rules.shortfall(seeds, "uniform") == pytest.approx(7)


def test_the_study_resumes(tmp_path, capsys):
    folder = tmp_path / "blobs.features"
    folder.mkdir()
    for name, array in zip(("features", "labels"), blobs(30), strict=True):
        np.save(folder / f"{name}.npy", array)
    out = tmp_path / "balances.csv"
    command = [str(tmp_path), str(out), "--seeds"]
    assert balance_rules.main([*command, "1"]) == 0
    first = out.read_text()
    rows = list(csv.DictReader(out.open()))
    # Five ways to label, three balances, two graphs; the thinned rows are too few for 50.
    assert len(rows) == 5 * 3 * 3 and {row["ratio"] for row in rows} == {"1", "10"}
    assert balance_rules.main([*command, "2"]) == 0
    assert out.read_text().startswith(first) and len(out.read_text()) > 1.9 * len(first)
    capsys.readouterr()
    assert balance_rules.main([*command, "2", "--summary"]) == 0
    assert "| rule, k auto | mean | worst | within 0.5 points of 10 |" in capsys.readouterr().out
