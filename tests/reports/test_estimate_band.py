"""The estimate without a test set in a report: curves, tables, page, and runs that have none."""

# ruff: noqa: F811  (fixtures of another file are parameters)

import csv
import re

import pandas as pd
import pytest

from reports.page import render_page
from reports.run_history import read_history
from reports.run_images import RunImages
from reports.runs import ESTIMATES, group_runs, make_results_frame, read_runs_below
from reports.summary import summarize_runs
from tests.reports.test_report import run_report, runs  # noqa: F401  fixtures


def add_estimates(folder, rows):
    """Give a run's results.csv the columns of the estimate; rows: three values per cycle."""
    path = folder / "results.csv"
    with open(path) as file:
        table = list(csv.DictReader(file))
    with open(path, "w") as file:
        writer = csv.DictWriter(file, [*table[0], *ESTIMATES])
        writer.writeheader()
        for row, values in zip(table, rows, strict=True):
            writer.writerow(row | dict(zip(ESTIMATES, values, strict=True)))


@pytest.fixture
def two_runs(runs, tmp_path):
    """Two splits of one group, the first cycle of the second without an estimate."""
    add_estimates(runs(50, 60), [(52, 40, 61), (63, 55, 70)])
    add_estimates(runs(54, 64, split=1), [("", "", ""), (65, 57, 74)])
    return read_runs_below(tmp_path / "runs")[0]


def page_of(results, measure="top1"):
    summary = summarize_runs(make_results_frame(results), measure)
    groups = group_runs(results)
    return render_page(groups, summary, [], [], measure, lambda config: RunImages(None, [], []))


def test_the_summary_has_their_means(two_runs):
    summary = summarize_runs(make_results_frame(two_runs), "top1")
    assert summary[list(ESTIMATES)].values.tolist() == [[52, 40, 61], [64, 56, 72]]
    other = summarize_runs(make_results_frame(two_runs).assign(top5=90.0), "top5")
    assert other[list(ESTIMATES)].isna().all(axis=None)  # they are estimates of top1


def test_curves_csv_and_the_figure(two_runs, run_report, tmp_path):
    run_report("runs", "--out", "with")
    table = pd.read_csv(tmp_path / "with" / "curves.csv")
    assert table[list(ESTIMATES)].values.tolist() == [[52, 40, 61], [64, 56, 72]]
    for run in two_runs:
        add_estimates(run.folder, [("", "", "")] * 2)
    run_report("runs", "--out", "without")
    figures = [(tmp_path / name / "curves.png").read_bytes() for name in ("with", "without")]
    assert figures[0] != figures[1]
    assert pd.read_csv(tmp_path / "without" / "curves.csv")[list(ESTIMATES)].isna().all(axis=None)


def test_the_page_draws_the_band(two_runs, runs):
    page = page_of(two_runs)
    (outline,) = re.findall(r'<polygon class="estimate" points="([^"]*)"', page)
    assert len(outline.split()) == 4  # both ends of two cycles
    assert 'id="estimates"' in page
    assert "estimated 64.0 % (56.0 to 72.0 %)" in page


def test_a_page_without_estimates(runs, tmp_path):
    runs(50, 60)
    page = page_of(read_runs_below(tmp_path / "runs")[0])
    assert 'class="estimate"' not in page and 'id="estimates"' not in page
    assert "estimated" not in page


def test_the_table_of_a_run(two_runs):
    tables = [read_history(run, None, None).cycle_table for run in two_runs]
    assert list(tables[0]["estimated, %"]) == ["52.0 (40.0 to 61.0)", "63.0 (55.0 to 70.0)"]
    assert list(tables[1]["estimated, %"]) == ["", "65.0 (57.0 to 74.0)"]


@pytest.mark.parametrize("value", ["101", "many"])
def test_a_garbled_estimate(runs, tmp_path, value):
    add_estimates(runs(50, 60), [(52, 40, value), (63, 55, 70)])
    results, notes = read_runs_below(tmp_path / "runs")
    assert not results and "estimated_high is not a percentage" in notes[0]
