"""report.py --out: all files, right numbers in them, and a line for each run that is no sample."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import report
from reports.file_names import CSV_HEADERS, REPORT_FILES
from tests.conftest import ROOT
from tests.reports.test_report import reported, runs  # noqa: F401  fixtures
from tests.utils.test_signals import hear

MORE = {"al_method": "coreset"}
GAIN = [0, 1.5, 1, 3, 2.5]  # of coreset over random in its last cycle, by split


@pytest.fixture
def study(runs):  # noqa: F811
    """Random choice, core-set and both with label propagation, five splits each."""
    for split, gain in enumerate(GAIN):
        runs(50, 60 + split, 70 + split, split=split)
        runs(50, 65 + split, 71 + split + gain, split=split, **MORE)
        runs(60, 75 + split, 80 + split, split=split, add_lp=True)
        runs(60, 75 + split, 81 - split, split=split, add_lp=True, **MORE)


def frames(folder):
    return {key: pd.read_csv(folder / f"{key}.csv") for key in CSV_HEADERS}


def test_all_files_and_their_numbers(study, reported, tmp_path):  # noqa: F811
    out, err = reported("runs", "--out", "new/out")
    assert err == "written: new/out/report.html and what is beside it\n"
    assert "| digits | LP | coreset |" in out
    folder = tmp_path / "new" / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted(REPORT_FILES)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "curves.pdf").read_bytes().startswith(b"%PDF")
    found = frames(folder)
    for key, header in CSV_HEADERS.items():
        assert tuple(found[key].columns) == header

    budget = found["budget"].set_index(["training", "method"])
    row = budget.loc["labels only", "coreset"]
    assert row["mean"] == pytest.approx(73 + np.mean(GAIN)) and row.runs == 5
    assert row["std"] == pytest.approx(np.std([split + g for split, g in enumerate(GAIN)], ddof=1))
    # The means are 50, 62, 72 and 50, 67, 74.6: 72 is reached at 20 + 10 * 5 / 7.6 of 30 labels.
    assert (row.saved, row.needed) == pytest.approx((10 - 50 / 7.6, 30))
    assert budget.loc["labels only", "random"].area == pytest.approx((56 + 67) / 2)
    assert np.isnan(budget.loc["labels only", "random"].saved)

    rows = found["differences"].set_index(["training", "method", "against", "of"])
    assert len(rows) == 2 * (2 + 2)
    row = rows.loc["labels only", "coreset", "random", "last"]
    gains = np.array(GAIN) + 1
    assert (row["mean"], row.n, row.labels) == (pytest.approx(gains.mean()), 5, 30)
    low, high = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (row.t_low, row.t_high) == pytest.approx((low, high))
    # Corrected for four comparisons of accuracies: random and coreset with LP gain much, and
    # coreset loses to random with LP.
    raw = {
        ("labels only", "coreset", "random"): gains,
        ("LP", "coreset", "random"): np.array([1.0, -1, -3, -5, -7]),
        ("LP", "random", "labels only"): np.full(5, 10.0),
        ("LP", "coreset", "labels only"): 9 - 2 * np.arange(5) - np.array(GAIN) + 1,
    }
    order = sorted(raw, key=lambda key: stats.ttest_1samp(raw[key], 0).pvalue)
    highest = 0.0
    for factor, key in zip((4, 3, 2, 1), order, strict=True):
        assert rows.loc[(*key, "last")]["mean"] == pytest.approx(raw[key].mean())
        highest = max(highest, factor * stats.ttest_1samp(raw[key], 0).pvalue)
        assert rows.loc[(*key, "last")].t_p == pytest.approx(min(highest, 1))

    cells = found["penalties"].set_index(["beats", "beaten"]).penalty
    # Of the two numbers of labels after the first, coreset beats random at both: 5 at 20 labels,
    # t = 5.0 at 30; with LP they are the same at 20, and t = -2.1 at 30.
    assert dict(cells) == {("coreset", "random"): 1.0, ("random", "coreset"): 0.0}


def test_the_documents(study, reported, tmp_path):  # noqa: F811
    reported("runs", "--out", "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| labels only | coreset | 5 splits | 50.0 ± 0.0 |" in text
    assert "Holm's correction" in text and "n < 5" not in text
    latex = (tmp_path / "out" / "report.tex").read_text()
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 4
    assert latex.startswith("% made by report.py; needs \\usepackage{booktabs,graphicx}\n")
    assert latex.count(r"\resizebox") == latex.count(r"\end{tabular}}") == 4
    assert r"$\pm$" in latex and r"95 \%" in latex and "±" not in latex


def test_few_shared_splits_give_no_p(runs, reported, tmp_path):  # noqa: F811
    for split in range(4):
        runs(50, 60 + split, split=split)
        runs(50, 70, split=split, **MORE)
    reported("runs", "--out", "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.count("| n < 5 |") == 2  # the area and the last cycle; a cell each of two tests
    assert "With fewer than 5 shared splits a test means little" in text
    assert "nothing was compared" in text
    assert frames(tmp_path / "out")["differences"][["t_p", "wilcoxon_p"]].isna().all(axis=None)
    assert not len(frames(tmp_path / "out")["penalties"])


def test_what_is_no_sample_is_listed(runs, reported, tmp_path):  # noqa: F811
    runs(50, 60, split=0, name="first")
    shutil.copytree(tmp_path / "runs" / "first", tmp_path / "runs" / "same")
    runs(51, 61, split=1, name="one")
    runs(52, 62, split=1, name="other")
    runs(53, 63, split=2, data="77aa88bb99cc")
    runs(54, 64, 74, split=3)
    runs(55, split=4, cycles=2, name="unfinished")
    for name, revision in (("first", "abc"), ("05", "def")):
        start = {"starts": [{"git_revision": revision, "device_name": "cpu"}]}
        (tmp_path / "runs" / name / "environment.json").write_text(json.dumps(start))
    _, err = reported("runs", "runs/first", "--out", "out")
    lines = err.splitlines()[:-1]
    assert lines == [
        "left out: runs/unfinished: 1 of 2 cycles are done",
        "doubled: runs/first has the same results as runs/same: counted once",
        "doubled: runs/one has other results than runs/other: left out",
        "mixed: digits has runs with 2 versions of the data (3fe2a1b4c5d6, 77aa88bb99cc); "
        "they are rows of their own",
        "missing: digits, labels only, random (data 3fe2a1) has no run of split 2, "
        "which other rows have",
        "mixed: digits, labels only, random (data 3fe2a1) has runs of 2 to 3 cycles",
        "mixed: digits, labels only, random (data 3fe2a1) was run with 2 code revisions (abc, def)",
        "missing: digits, labels only, random (data 77aa88) has no run of splits 0, 3, "
        "which other rows have",
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert all(line in page and line in markdown for line in lines)
    means = frames(tmp_path / "out")["curves"].set_index(["method", "labeled"])["mean"]
    assert means["random (data 3fe2a1)", 10] == 52  # of 50 and 54: neither 51 nor 52 counts


def test_what_is_there_is_its_own_or_is_left_alone(runs, reported, tmp_path):  # noqa: F811
    run = runs(50, 60)
    assert "in a run's folder" in reported("runs", "--out", run, status=2)[1]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("<!DOCTYPE html><title>mine</title>")
    _, err = reported("runs", "--out", "out", status=2)
    assert "out/report.html is there and is not of a report" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    (tmp_path / "out" / "report.html").unlink()
    words = ("runs", "--out", "out", "--table", "t.md", "--figure", "f.svg")
    reported(*words)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    reported(*words)  # its own
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {n for n in before if before[n] != after[n]} <= {"curves.pdf"}  # which holds the time
    assert "read only with --out" in reported("runs", "--follow", status=2)[1]


def test_follow_ends_when_all_is_finished(runs, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    runs(50, 60, split=0)
    late = runs(52, split=1, cycles=2)
    threading.Timer(1.0, finish, [late]).start()
    assert report.main(["runs", "--out", "out", "--follow", "0.5"]) == 0
    out, err = capsys.readouterr()
    said = [line.split(" (")[0] for line in err.splitlines()]
    assert said == ["1 finished, 1 not yet", "2 finished, 0 not yet"]
    assert "| 51.0 ± 1.4 | 61.0 ± 1.4 |" in out and out.count("| data set |") == 1
    assert "2 finished runs" in (tmp_path / "out" / "report.html").read_text()


def finish(folder):
    more = (folder / "results.csv").read_text() + "1,20,62,\n"
    (folder / "new").write_text(more)
    (folder / "new").rename(folder / "results.csv")


def test_follow_is_left_by_an_interrupt(runs, tmp_path):  # noqa: F811
    runs(cycles=2)  # in its first cycle: nothing to show yet
    words = [sys.executable, ROOT / "report.py", "runs", "--out", "out", "--follow"]
    pipes = {"stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=tmp_path, preexec_fn=hear, **pipes)
    assert "0 finished, 1 not yet" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "report.py: interrupted\n"
    assert process.returncode == 130 and not (tmp_path / "out").exists()


def test_other_networks_are_another_setting(runs, reported, tmp_path):  # noqa: F811
    for split in range(5):
        runs(50, 60 + split, split=split)
        runs(50, 90 + 2 * split, split=split, arch="large")
        runs(50, 70 + 2 * split, split=split, arch="large", **MORE)
    reported("runs", "--out", "out")
    found = frames(tmp_path / "out")
    assert list(found["penalties"].itertuples(index=False, name=None)) == [
        ("coreset", "random (arch large)", 0.0),
        ("random (arch large)", "coreset", 1.0),
    ]
    assert set(found["differences"].against) == {"random (arch large)"}
