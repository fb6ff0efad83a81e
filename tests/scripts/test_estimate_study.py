"""The studies of docs/estimate.md: estimates as in a run, fitted constants, costs, rules."""

import csv

import numpy as np
import pytest

from data.active_pool import ActivePool
from scripts.studies import estimate_coverage, estimate_tables, stopping_rules
from tests.conftest import ROOT

RESULTS = ROOT / "scripts" / "studies" / "results"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Rows of a short study on one table of clusters, and its file."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    features = rng.normal(size=(3, 5))[labels] + 0.8 * rng.normal(size=(150, 5))
    (root / "tables").mkdir()
    np.savez(root / "tables" / "clusters-0.npz", features=features, labels=labels)
    out = root / "rows.csv"
    assert estimate_coverage.main([str(root), str(out), "--seeds", "1"]) == 0
    return root, out


def test_every_run_has_a_row_per_cycle(study):
    rows = estimate_tables.read_rows(study[1])
    runs = {estimate_tables._run_key(row) for row in rows}
    methods = {(key[3], key[5]) for key in runs}
    lp = {(method, "lp") for method in estimate_coverage.METHODS}
    assert methods == lp | {("margin + audit", "supervised")}
    assert len(rows) == len(runs) * estimate_coverage.CYCLES
    assert all(0 < row["network"] <= 1 and row["labels"] >= 10 for row in rows)


def test_a_finished_study_is_not_repeated(study):
    root, out = study
    before = out.read_bytes()
    assert estimate_coverage.main([str(root), str(out), "--seeds", "1"]) == 0
    assert out.read_bytes() == before


def test_estimates_from_the_rows_are_those_of_a_run(study, monkeypatch):
    """But for the rounding of the rows."""
    root, out = study
    rows = estimate_tables.read_rows(out)
    case = estimate_coverage.read_case(root / "tables" / "clusters-0.npz", 0)
    run = estimate_coverage.Run("margin + audit", 10, "lp", 0)
    for cycle in estimate_coverage.follow(case, run, 3):
        state, options, outputs, _ = cycle
        everything = ActivePool(state.pool, None, len(state.pool.labels))
        with estimate_coverage.dense_kernel(case):
            made = estimate_coverage.estimates.make_estimates(
                options, state, everything, outputs, case.classes
            )
        key = ("clusters", "table", 0, "margin + audit", 10, "lp")
        (row,) = (
            r for r in rows if (estimate_tables._run_key(r), r["cycle"]) == (key, state.cycle)
        )
        for values in made:
            found = estimate_tables.posterior(row, values["model"], estimate_tables.SHIPPED)
            again = estimate_tables.estimate_accuracy(found, row["unlabeled"])
            expected = [float(values[name]) for name in ("accuracy", "low", "high")]
            np.testing.assert_allclose(100 * np.array(again), expected, atol=1.1)


def test_the_prior_that_is_shipped_is_that_of_the_tables():
    rows = estimate_tables.read_rows(RESULTS / "estimate_coverage.csv")
    fitted = estimate_tables.fit_all(row for row in rows if row["features"] == "table")
    for ours, expected in zip(estimate_tables.SHIPPED, fitted, strict=True):
        np.testing.assert_allclose(ours, expected, atol=0.021)


def make_run(accuracies, **columns):
    """Rows of scripts/studies/stopping_rules.py with 10 more labels per cycle, of 100 images."""
    rows = []
    for cycle, accuracy in enumerate(accuracies):
        row = {"budget": 10, "labels": 10 * (cycle + 1), "unlabeled": 90 - 10 * cycle}
        row |= {"accuracy": accuracy, "gain": 5.0, "low": 50.0}
        row |= dict.fromkeys(stopping_rules.CRITERIA, 0.0)
        rows.append(row | {name: v[cycle] for name, v in columns.items()})
    return rows


def test_the_cost_is_labels_and_errors():
    rows = make_run([0.5, 0.75, 0.9])
    assert stopping_rules.costs(rows, 2.0).tolist() == pytest.approx([100, 60, 44])


@pytest.mark.parametrize(
    "rule, columns, cycle",
    [
        ("--stop-when gain:1", {"gain": [3, 2, 0.9, 0.5, 0.4, 0.3]}, 2),
        ("--stop-when gain:X, X of the costs", {"gain": [30, 20, 11, 9, 8, 7]}, 2),
        ("--stop-when accuracy:90", {"low": [50, 70, 89, 90, 91, 92]}, 3),
        ("OverallUncertainty", {"OverallUncertainty": [0, 0, 0, 1, 0, 1]}, 3),
        ("ClassificationChange", {}, 5),
        ("MaxIterations(5)", {}, 4),
        ("MaxIterations(10)", {}, 5),
    ],
)
def test_when_each_rule_stops(rule, columns, cycle):
    rows = make_run([0.5] * 6, **columns)
    assert stopping_rules.stops(rows, ratio=1.0)[rule] == cycle


def test_a_criterion_that_cannot_judge_a_run_is_left_out():
    rows = make_run([0.5] * 6, DeltaFScore=[np.nan] * 6)
    assert "DeltaFScore" not in stopping_rules.stops(rows, ratio=1.0)


def test_the_page_has_the_numbers_of_the_rows(capsys):
    assert stopping_rules.main(["", str(RESULTS / "stopping_rules.csv"), "--summary"]) == 0
    printed = capsys.readouterr().out.split("without tables")[1]
    page = (ROOT / "docs" / "estimate.md").read_text(encoding="utf-8")
    lines = [line for line in printed.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(lines) == 9 + 10 and all(line in page for line in lines)
    with open(RESULTS / "estimate_coverage.csv") as file:
        table = list(csv.DictReader(file))
    runs = {tuple(row[name] for name in estimate_coverage.RUN_COLUMNS) for row in table}
    assert f"{len(runs)} runs of five cycles" in page
