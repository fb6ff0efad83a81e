"""The report: correct numbers, distinct groups, and one line for each run that it cannot use."""

import csv
import json
import shutil
import statistics

import pandas as pd
import pytest

import report
from reports import baselines
from reports.curves import assign_styles
from reports.runs import group_runs, read_runs_below
from tests.conftest import ROOT

OPTIONS = {
    "dataset": "digits",
    "al_method": "random",
    "split": 0,
    "seed": 7,
    "al_budget": 10,
    "arch": "small_cnn",
    "epochs": 4,
    "isL2": True,
    "lr": 0.2,
}


@pytest.fixture
def runs(tmp_path):
    """Writes the files of a run with these accuracies and returns its folder."""

    def write(
        *accuracies, cycles=None, data="3fe2a1b4c5d6", results=5, step=10, name=None, **changes
    ):
        options = OPTIONS | changes
        number = len(list(tmp_path.glob("runs/*")))
        folder = tmp_path / "runs" / (name or f"{number:02d}")
        folder.mkdir(parents=True)
        initial = f"labels of {options['split']}"
        identity = {"options": options, "data": data, "initial": initial, "results": results}
        cycles = len(accuracies) if cycles is None else cycles
        config = options | {"al_nb_cycles": cycles, "identity": identity}
        (folder / "config.json").write_text(json.dumps(config))
        with open(folder / "results.csv", "w") as file:
            writer = csv.writer(file)
            writer.writerow(["cycle", "labeled", "top1", "pseudo_accuracy"])
            for cycle, accuracy in enumerate(accuracies):
                writer.writerow([cycle, step * (cycle + 1), accuracy, ""])
        return folder

    return write


@pytest.fixture
def run_report(tmp_path, capsys, monkeypatch):
    """Runs the report in this process and returns its standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, expected_status=0):
        capsys.readouterr()
        try:
            status = report.main([str(word) for word in argv or ["runs"]])
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        assert status == expected_status, captured.err
        return captured.out, captured.err

    return run


@pytest.fixture
def error_line(run_report):
    """Runs the report, which must fail with one line, and returns that line."""

    def run(*argv):
        out, err = run_report(*argv, expected_status=2)
        assert not out and err.count("\n") == 1, err
        return err

    return run


def rows(table):
    """(training, method) -> the cells that follow, in the order of the table."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {tuple(cells[1:3]): cells[3:] for cells in lines[2:]}


def test_mean_and_standard_deviation(runs, command, tmp_path):
    values = [51.25, 58.75, 55.5]
    for split, value in enumerate(values):
        runs(value, 80, split=split)
        runs(value + 20, 90, split=split, add_lp=True)
    runs(1.0, split=9, cycles=2)  # unfinished
    argv = ("runs", "--figure", "f.png", "--table", "t.csv")
    done = command("python", ROOT / "report.py", *argv)
    assert done.returncode == 0, done.stderr
    mean, spread = statistics.mean(values), statistics.stdev(values)
    cells = rows(done.stdout)
    assert cells["supervised baseline", "random"] == [f"{mean:.1f} ± {spread:.1f}", "80.0 ± 0.0"]
    assert cells["LP", "random"] == [f"{mean + 20:.1f} ± {spread:.1f}", "90.0 ± 0.0"]
    assert done.stdout.endswith("\nMean ± standard deviation over 3 splits.\n")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("left out: runs/06: 1 of 2 ")
    with open(tmp_path / "t.csv") as file:
        first = next(csv.DictReader(file))
    assert float(first["mean"]) == pytest.approx(mean)
    assert float(first["std"]) == pytest.approx(spread)
    assert (first["runs"], first["splits"], first["seeds"]) == ("3", "3", "1")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lr", (0.1, 0.2)),
        ("epochs", (4, 30)),
        ("al_budget", (10, 100)),
        ("arch", ("cifar_cnn", "small_cnn")),
        ("isL2", (False, True)),
    ],
)
def test_different_options_are_different_rows(runs, run_report, name, values):
    for split, value in enumerate(reversed(values)):
        runs(50 + split, 60, split=split, **{name: value})
    runs(70, 80, al_method="coreset")
    first, second = (f"random ({name} {value})" for value in values)
    cells = {method: line for (_, method), line in rows(run_report()[0]).items()}
    assert list(cells) == ["coreset", first, second]  # there is one coreset only
    assert cells[first] == ["51.0", "60.0"] and cells[second] == ["50.0", "60.0"]


def test_names_show_only_options_that_differ(runs, run_report):
    """Several options, an option that only some runs have, the data, and the results version."""
    runs(50, lr=0.1)
    runs(51, lr=10.0)
    runs(52, lr=2.0, sobel=True)
    runs(53, al_method="coreset")
    runs(54, al_method="coreset", data="77aa88bb99cc")
    runs(55, al_method="jlp", results=4)
    runs(56, al_method="jlp")
    assert [method for _, method in rows(run_report()[0])] == [
        *("coreset (data 3fe2a1)", "coreset (data 77aa88)"),
        *("jlp (results 4)", "jlp (results 5)"),
        *("random (lr 0.1)", "random (lr 2.0, sobel True)", "random (lr 10.0)"),
    ]


def test_training_names_follow_from_the_options(runs, run_report):
    pretrained = {"add_unsupervised_pretraining": True}
    runs(50, add_plugin=True, **pretrained, pretraining_method="one")
    runs(51, add_plugin=True, **pretrained, pretraining_method="two")
    runs(52, add_plugin=True)
    runs(53, **pretrained, pretraining_method="one")
    runs(54, add_plugin=False)
    assert list(rows(run_report()[0])) == [
        ("supervised baseline", "random"),
        ("PLUGIN", "random"),
        ("PRE", "random"),
        ("PRE + PLUGIN", "random (pretraining_method one)"),
        ("PRE + PLUGIN", "random (pretraining_method two)"),
    ]


def test_seeds_are_replicates(runs, run_report, tmp_path):
    values = {(split, seed): 50 + 3 * split + seed for split in range(5) for seed in (7, 8)}
    for (split, seed), value in values.items():
        runs(value, split=split, seed=seed)
    out, _ = run_report("runs", "--table", "t.csv")
    mean, spread = statistics.mean(values.values()), statistics.stdev(values.values())
    assert list(rows(out).values()) == [[f"{mean:.1f} ± {spread:.1f}"]]
    assert "over 5 splits, 2 seeds (10 runs)" in out
    first = next(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert (first["runs"], first["splits"], first["seeds"]) == ("10", "5", "2")
    runs(40, al_method="coreset")
    out, _ = run_report()
    assert rows(out)["supervised baseline", "coreset"] == ["1 split", "40.0"]
    assert rows(out)["supervised baseline", "random"][0] == "5 splits, 2 seeds (10 runs)"


def test_runs_of_different_length(runs, run_report):
    """The mean of a cycle is over the runs that have it."""
    runs(50, 60, 70, split=0)
    runs(52, 62, split=1)
    out, _ = run_report()
    assert list(rows(out).values()) == [["51.0 ± 1.4", "61.0 ± 1.4", "70.0 (n = 1)"]]
    assert "; n: number of runs" in out


def test_duplicate_run_is_error_line(runs, error_line):
    runs(50, name="here", lr=0.1)
    runs(51, name="there", lr=0.1)
    line = error_line("runs")
    assert "is not the only run of its split" in line
    assert "runs/here" in line and "runs/there" in line


def test_damaged_runs_are_left_out_with_a_note(runs, run_report):
    def damage(file, content):
        folder = runs(50, 60, split=len(reasons))
        (folder / file).write_bytes(content)
        return folder.name

    def config(**changes):
        return json.dumps({"al_nb_cycles": 2, "identity": {"options": OPTIONS}} | changes).encode()

    reasons = {}
    reasons[damage("config.json", b'{"lr": 0.1}')] = "older version"
    reasons[damage("config.json", b'{"lr": ')] = "cannot be read"
    reasons[damage("config.json", b"\xff\xfe")] = "cannot be read"
    reasons[damage("config.json", b"[1, 2]")] = "config.json is not"
    reasons[damage("config.json", config(identity=[1]))] = "identity without options"
    reasons[damage("config.json", config(identity={"options": {}}))] = "identity without dataset"
    reasons[damage("config.json", config(al_nb_cycles="2"))] = "how many cycles"
    reasons[damage("results.csv", b"")] = "is empty"
    reasons[damage("results.csv", b"\x89PNG\x00\xff")] = "results.csv"
    reasons[damage("results.csv", b"name,score\na,1\n")] = "no column cycle"
    reasons[damage("results.csv", b"cycle,labeled,top1\n0,10,50,9,9\n1,20,60,9,9\n")] = "garbled"
    reasons[damage("results.csv", b"cycle,labeled,top1\n0,10,50\n1,20\n")] = "top1 is not"
    reasons[damage("results.csv", b"cycle,labeled,top1\n0,10,50\n1,20,high\n")] = "top1 is not"
    reasons[damage("results.csv", b"cycle,labeled,top1\n0,10,50\n0,10,50\n")] = "cycle does not"
    reasons[damage("results.csv", b"cycle,labeled,top1\n0,ten,50\n1,20,60\n")] = "labeled is not"
    foreign = runs(50)
    (foreign / "config.json").unlink()
    reasons[foreign.name] = "no config.json"
    runs(1, 2, split=1, name="99.old1")
    runs(51, 61, split=1, name="good")
    out, err = run_report()
    assert list(rows(out).values()) == [["51.0", "61.0"]]
    lines = err.splitlines()
    assert len(lines) == len(reasons)
    for line, (folder, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"left out: runs/{folder}: ") and reason in line


def test_nothing_to_report(runs, run_report, error_line, tmp_path):
    assert "no finished run below nowhere" in error_line("nowhere")
    runs(50, 60)
    assert "these runs have no val_top1" in error_line("runs", "--measure", "val_top1")
    assert "these runs have no pseudo_accuracy" in error_line(
        "runs", "--measure", "pseudo_accuracy"
    )
    assert "top1, top5, val_top1" in error_line("runs", "--measure", "loss")
    shutil.rmtree(tmp_path / "runs")
    runs(cycles=3)  # in its first cycle
    out, err = run_report(expected_status=2)
    assert not out
    left_out, error = err.splitlines()
    assert left_out.startswith("left out: runs/00: 0 of 3 ")
    assert error.startswith("report.py: error: ") and "no finished run" in error


def test_report_overwrites_only_its_own_files(runs, run_report, error_line, tmp_path):
    runs(50, 60)
    own = {"README.md": "# Mine\n", "mine.csv": "a,b\n", "mine.png": "no picture"}
    for name, text in own.items():
        (tmp_path / name).write_text(text)
        option = "--figure" if name.endswith("png") else "--table"
        assert "not written by a report" in error_line("runs", option, name)
        assert (tmp_path / name).read_text() == text
    before = (tmp_path / "runs/00/results.csv").read_bytes()
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "link.svg").symlink_to(tmp_path / "mine.png")
    assert "must end in .md or .csv" in error_line("runs", "--table", "t.txt")
    assert "must end in .md or .csv" in error_line("runs", "--table", "t")
    assert "must end in .png or .pdf or .svg" in error_line("runs", "--figure", "f.csv")
    for name in ("results.csv", "acquired.csv", "timing.csv"):
        assert "a run's own file" in error_line("runs", "--table", f"runs/00/{name}")
    assert "not a regular file" in error_line("runs", "--table", "folder.md")
    assert "not a regular file" in error_line("runs", "--figure", "link.svg")
    assert (tmp_path / "runs/00/results.csv").read_bytes() == before
    for suffix in ("md", "csv", "png", "pdf", "svg"):
        option = "--table" if suffix in ("md", "csv") else "--figure"
        run_report("runs", option, f"new/f.{suffix}")
        run_report("runs", option, f"new/f.{suffix}")  # overwrites its own


def test_table_file_equals_printed_table(runs, run_report, tmp_path):
    runs(50, 60, al_method="a|b")
    out, _ = run_report("runs", "--table", "t.md")
    assert (tmp_path / "t.md").read_text() == out and r"a\|b" in out


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figure_of_many_curves(runs, run_report, tmp_path, suffix):
    """One file with a row of panels per data set; a name is never interpreted as a formula."""
    for i in range(12):
        runs(50 + i, 60 + i, 70, al_method=f"$\\frac$_{i}")
    runs(50, 60, al_method="$\\frac$_11", add_plugin=True)
    runs(50, 60, dataset="other", step=100)
    out, _ = run_report("runs", "--figure", f"f.{suffix}")
    assert "| 30 labels |" in out and "| 200 labels |" in out
    assert out.count("| data set |") == 2 and out.count("labels |") == 5  # one table per data set
    assert [path.name for path in tmp_path.glob("f*")] == [f"f.{suffix}"]
    content = (tmp_path / f"f.{suffix}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix])


def test_every_curve_has_its_own_style():
    styles = assign_styles(
        pd.DataFrame({"method": [f"method {i}" for i in range(60)], "group": range(60)})
    )
    looks = {(style["color"], style["marker"]) for style in styles.values()}
    assert len(styles) == len(looks) == 60


def test_random_baseline(runs, tmp_path):
    """Random selection with the same way to choose first labels is preferred to the default way,
    which is the baseline of every other way."""
    selected = {"initial": "lp_coverage"}
    for changes in (
        *({"al_method": "random"}, {"al_method": "random"} | selected),
        *({"al_method": "bald", "mc_passes": 10}, {"al_method": "coreset"} | selected),
        *({"al_method": "random", "lr": 0.1}, {"al_method": "coreset", "initial": "typiclust"}),
    ):
        runs(50, 60, **changes)
    groups = group_runs(read_runs_below(tmp_path / "runs")[0])
    baseline_methods = {}
    for group in groups:
        if other := baselines.random_baseline(group, groups):
            baseline_methods[group.display_name.method] = other.display_name.method
    assert len(groups) == 6 and baseline_methods == {
        "random (initial lp_coverage, lr 0.2)": "random (lr 0.2)",
        "bald": "random (lr 0.2)",
        "coreset (initial lp_coverage)": "random (initial lp_coverage, lr 0.2)",
        "coreset (initial typiclust)": "random (lr 0.2)",
    }
