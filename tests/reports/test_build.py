"""report.py --out: all files, correct numbers in them, and notes on runs that are left out."""

import json
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import report
from reports.file_names import CSV_HEADERS, REPORT_FILES
from tests.conftest import ROOT
from tests.reports.test_report import run_report, runs  # noqa: F401  fixtures
from tests.utils.test_signals import reset_handlers
from tests.waiting import wait_for

CORESET = {"al_method": "coreset"}
GAINS = [0, 1.5, 1, 3, 2.5]  # by split: of coreset over random in the last cycle, minus one


@pytest.fixture
def study(runs):  # noqa: F811
    """Random selection and core-set, each without and with label propagation, on five splits."""
    for split, gain in enumerate(GAINS):
        runs(50, 60 + split, 70 + split, split=split)
        runs(50, 65 + split, 71 + split + gain, split=split, **CORESET)
        runs(60, 75 + split, 80 + split, split=split, add_lp=True)
        runs(60, 75 + split, 81 - split, split=split, add_lp=True, **CORESET)


def read_tables(folder):
    return {key: pd.read_csv(folder / f"{key}.csv") for key in CSV_HEADERS}


def test_files_and_numbers(study, run_report, tmp_path):  # noqa: F811
    out, err = run_report("runs", "--out", "new/out")
    assert err.count("\n") == 1 and "new/out/report.html" in err
    assert "| digits | LP | coreset |" in out
    folder = tmp_path / "new" / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted(REPORT_FILES)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "curves.pdf").read_bytes().startswith(b"%PDF")
    tables = read_tables(folder)
    for key, header in CSV_HEADERS.items():
        assert tuple(tables[key].columns) == header

    budget = tables["budget"].set_index(["training", "method"])
    row = budget.loc["supervised baseline", "coreset"]
    assert row["mean"] == pytest.approx(73 + np.mean(GAINS)) and row.runs == 5
    assert row["std"] == pytest.approx(np.std([split + g for split, g in enumerate(GAINS)], ddof=1))
    # The means are 50, 62, 72 and 50, 67, 74.6: 72 is reached at 20 + 10 * 5 / 7.6 of 30 labels.
    assert (row.saved, row.needed) == pytest.approx((10 - 50 / 7.6, 30))
    assert budget.loc["supervised baseline", "random"].area == pytest.approx((56 + 67) / 2)
    assert np.isnan(budget.loc["supervised baseline", "random"].saved)

    rows = tables["differences"].set_index(["training", "method", "against", "of"])
    assert len(rows) == 2 * (2 + 2)
    row = rows.loc["supervised baseline", "coreset", "random", "last"]
    gains = np.array(GAINS) + 1
    assert (row["mean"], row.n, row.labels) == (pytest.approx(gains.mean()), 5, 30)
    low, high = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (row.t_low, row.t_high) == pytest.approx((low, high))
    # The p-values are corrected for four comparisons of accuracies: random and coreset gain much by
    # LP, and coreset is worse than random with LP.
    raw = {
        ("supervised baseline", "coreset", "random"): gains,
        ("LP", "coreset", "random"): np.array([1.0, -1, -3, -5, -7]),
        ("LP", "random", "supervised baseline"): np.full(5, 10.0),
        ("LP", "coreset", "supervised baseline"): 9 - 2 * np.arange(5) - np.array(GAINS) + 1,
    }
    order = sorted(raw, key=lambda key: stats.ttest_1samp(raw[key], 0).pvalue)
    highest = 0.0
    for factor, key in zip((4, 3, 2, 1), order, strict=True):
        assert rows.loc[(*key, "last")]["mean"] == pytest.approx(raw[key].mean())
        highest = max(highest, factor * stats.ttest_1samp(raw[key], 0).pvalue)
        assert rows.loc[(*key, "last")].t_p == pytest.approx(min(highest, 1))

    cells = tables["penalties"].set_index(["beats", "beaten"]).penalty
    # At both numbers of labels after the first, coreset beats random: by 5 in all splits at 20
    # labels, with t = 5.0 at 30; with LP they are equal at 20, and t = -2.1 at 30.
    assert dict(cells) == {("coreset", "random"): 1.0, ("random", "coreset"): 0.0}


def test_markdown_and_latex(study, run_report, tmp_path):  # noqa: F811
    run_report("runs", "--out", "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| supervised baseline | coreset | 5 splits | 50.0 ± 0.0 |" in text
    assert "Holm" in text and "n < 5" not in text
    latex = (tmp_path / "out" / "report.tex").read_text()
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 4
    assert latex.startswith("% made by report.py; needs \\usepackage{booktabs,graphicx}\n")
    assert latex.count(r"\resizebox") == latex.count(r"\end{tabular}}") == 4
    assert r"$\pm$" in latex and r"95 \%" in latex and "±" not in latex


def test_no_p_value_below_five_shared_splits(runs, run_report, tmp_path):  # noqa: F811
    for split in range(4):
        runs(50, 60 + split, split=split)
        runs(50, 70, split=split, **CORESET)
    run_report("runs", "--out", "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.count("| n < 5 |") == 2  # the rows of area and last cycle; each has two tests
    assert text.count("fewer than 5 shared splits") == 2 and "nothing was compared" in text
    assert read_tables(tmp_path / "out")["differences"][["t_p", "wilcoxon_p"]].isna().all(axis=None)
    assert not len(read_tables(tmp_path / "out")["penalties"])


def test_notes_on_unfinished_repeated_missing_and_mixed_runs(runs, run_report, tmp_path):  # noqa: F811
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
    _, err = run_report("runs", "runs/first", "--out", "out")
    lines = err.splitlines()[:-1]
    first, second = (
        f"digits, supervised baseline, random (data {data})" for data in ("3fe2a1", "77aa88")
    )
    expected = [
        ("left out: runs/unfinished: ", "1 of 2"),
        ("repeated: runs/first ", "runs/same"),
        ("repeated: runs/one ", "runs/other"),
        ("mixed: digits ", "2 versions of the data (3fe2a1b4c5d6, 77aa88bb99cc)"),
        (f"missing: {first} ", "split 2,"),
        (f"mixed: {first} ", "2 to 3 cycles"),
        (f"mixed: {first} ", "2 code revisions (abc, def)"),
        (f"missing: {second} ", "splits 0, 3,"),
    ]
    assert len(lines) == len(expected)
    for line, (start, part) in zip(lines, expected, strict=True):
        assert line.startswith(start) and part in line
    assert "counted once" in lines[1] and "left out" in lines[2]
    page = (tmp_path / "out" / "report.html").read_text()
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert all(line in page and line in markdown for line in lines)
    means = read_tables(tmp_path / "out")["curves"].set_index(["method", "labeled"])["mean"]
    assert means["random (data 3fe2a1)", 10] == 52  # of 50 and 54: neither 51 nor 52 counts


def test_report_overwrites_only_its_own_files(runs, run_report, tmp_path):  # noqa: F811
    run = runs(50, 60)
    assert "in a run folder" in run_report("runs", "--out", run, expected_status=2)[1]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("<!DOCTYPE html><title>mine</title>")
    _, err = run_report("runs", "--out", "out", expected_status=2)
    assert "out/report.html" in err and "not written by a report" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    (tmp_path / "out" / "report.html").unlink()
    argv = ("runs", "--out", "out", "--table", "t.md", "--figure", "f.svg")
    run_report(*argv)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run_report(*argv)  # overwrites its own
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {n for n in before if before[n] != after[n]} <= {"curves.pdf"}  # which contains the time
    _, err = run_report("runs", "--follow", expected_status=2)
    assert "--follow" in err and "--out" in err


def test_follow_ends_when_all_runs_are_finished(runs, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    runs(50, 60, split=0)
    late = runs(52, split=1, cycles=2)
    threading.Thread(target=finish_after_first_report, args=[late, tmp_path / "out"]).start()
    assert report.main(["runs", "--out", "out", "--follow", "0.1"]) == 0
    out, err = capsys.readouterr()
    counts = [line.split(" (")[0] for line in err.splitlines()]
    assert counts == ["1 finished, 1 unfinished", "2 finished, 0 unfinished"]
    assert "| 51.0 ± 1.4 | 61.0 ± 1.4 |" in out and out.count("| data set |") == 1
    assert "2 finished runs" in (tmp_path / "out" / "report.html").read_text()


def finish_after_first_report(run_folder, report_folder):
    wait_for(lambda: (report_folder / "report.html").exists())
    complete = (run_folder / "results.csv").read_text() + "1,20,62,\n"
    (run_folder / "new").write_text(complete)
    (run_folder / "new").rename(run_folder / "results.csv")


def test_interrupt_ends_follow(runs, tmp_path):  # noqa: F811
    runs(cycles=2)  # in its first cycle, so there is nothing to report yet
    command = [sys.executable, ROOT / "report.py", "runs", "--out", "out", "--follow"]
    pipes = {"stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=reset_handlers, **pipes)
    assert "0 finished, 1 unfinished" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=600)[1] == "report.py: interrupted\n"
    assert process.returncode == 130 and not (tmp_path / "out").exists()


def test_other_network_is_another_setting(runs, run_report, tmp_path):  # noqa: F811
    for split in range(5):
        runs(50, 60 + split, split=split)
        runs(50, 90 + 2 * split, split=split, arch="large")
        runs(50, 70 + 2 * split, split=split, arch="large", **CORESET)
    run_report("runs", "--out", "out")
    tables = read_tables(tmp_path / "out")
    assert list(tables["penalties"].itertuples(index=False, name=None)) == [
        ("coreset", "random (arch large)", 0.0),
        ("random (arch large)", "coreset", 1.0),
    ]
    assert set(tables["differences"].against) == {"random (arch large)"}
