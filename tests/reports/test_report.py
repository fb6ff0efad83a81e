"""The report: right numbers, groups that are told apart, one line for what it cannot use."""

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
    """Write a run of these accuracies; -> its folder."""

    def write(
        *accuracies, cycles=None, data="3fe2a1b4c5d6", results=5, step=10, name=None, **given
    ):
        options = OPTIONS | given
        number = len(list(tmp_path.glob("runs/*")))
        folder = tmp_path / "runs" / (name or f"{number:02d}")
        folder.mkdir(parents=True)
        initial = f"labels of {options['split']}"
        who = {"options": options, "data": data, "initial": initial, "results": results}
        cycles = len(accuracies) if cycles is None else cycles
        config = options | {"al_nb_cycles": cycles, "identity": who}
        (folder / "config.json").write_text(json.dumps(config))
        with open(folder / "results.csv", "w") as file:
            writer = csv.writer(file)
            writer.writerow(["cycle", "labeled", "top1", "pseudo_accuracy"])
            for cycle, accuracy in enumerate(accuracies):
                writer.writerow([cycle, step * (cycle + 1), accuracy, ""])
        return folder

    return write


@pytest.fixture
def reported(tmp_path, capsys, monkeypatch):
    """Run the report in this process; -> its output and its errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words, status=0):
        capsys.readouterr()
        try:
            found = report.main([str(word) for word in words or ["runs"]])
        except SystemExit as error:
            found = error.code
        captured = capsys.readouterr()
        assert found == status, captured.err
        return captured.out, captured.err

    return run


@pytest.fixture
def refused(reported):
    """Run the report, which refuses in one line; -> that line."""

    def run(*words):
        out, err = reported(*words, status=2)
        assert not out and err.count("\n") == 1, err
        return err

    return run


def rows(table):
    """(training, method) -> the cells that follow, in the order of the table."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {tuple(cells[1:3]): cells[3:] for cells in lines[2:]}


def test_mean_and_spread(runs, command, tmp_path):
    values = [51.25, 58.75, 55.5]
    for split, value in enumerate(values):
        runs(value, 80, split=split)
        runs(value + 20, 90, split=split, add_lp=True)
    runs(1.0, split=9, cycles=2)  # unfinished
    words = ("--figure", "f.png", "--table", "t.csv")
    done = command("python", ROOT / "report.py", "runs", *words)
    assert done.returncode == 0, done.stderr
    mean, spread = statistics.mean(values), statistics.stdev(values)
    cells = rows(done.stdout)
    assert cells["labels only", "random"] == [f"{mean:.1f} ± {spread:.1f}", "80.0 ± 0.0"]
    assert cells["LP", "random"] == [f"{mean + 20:.1f} ± {spread:.1f}", "90.0 ± 0.0"]
    assert done.stdout.endswith("\nMean ± standard deviation over 3 splits.\n")
    assert done.stderr == "left out: runs/06: 1 of 2 cycles are done\n"
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
def test_different_options_are_different_rows(runs, reported, name, values):
    for split, value in enumerate(reversed(values)):
        runs(50 + split, 60, split=split, **{name: value})
    runs(70, 80, al_method="coreset")
    first, second = (f"random ({name} {value})" for value in values)
    cells = {method: line for (_, method), line in rows(reported()[0]).items()}
    assert list(cells) == ["coreset", first, second]  # nothing to tell coreset from
    assert cells[first] == ["51.0", "60.0"] and cells[second] == ["50.0", "60.0"]


def test_only_what_differs_is_shown(runs, reported):
    """Of several options, of one that not all read, of the data and the results' arithmetic."""
    runs(50, lr=0.1)
    runs(51, lr=10.0)
    runs(52, lr=2.0, sobel=True)
    runs(53, al_method="coreset")
    runs(54, al_method="coreset", data="77aa88bb99cc")
    runs(55, al_method="jlp", results=4)
    runs(56, al_method="jlp")
    assert [method for _, method in rows(reported()[0])] == [
        *("coreset (data 3fe2a1)", "coreset (data 77aa88)"),
        *("jlp (results 4)", "jlp (results 5)"),
        *("random (lr 0.1)", "random (lr 2.0, sobel True)", "random (lr 10.0)"),
    ]


def test_trainings_take_their_names_from_the_options(runs, reported):
    pretrained = {"add_unsupervised_pretraining": True}
    runs(50, add_guest=True, **pretrained, pretraining_method="one")
    runs(51, add_guest=True, **pretrained, pretraining_method="two")
    runs(52, add_guest=True)
    runs(53, **pretrained, pretraining_method="one")
    runs(54, add_guest=False)
    assert list(rows(reported()[0])) == [
        ("labels only", "random"),
        ("GUEST", "random"),
        ("PRE", "random"),
        ("PRE + GUEST", "random (pretraining_method one)"),
        ("PRE + GUEST", "random (pretraining_method two)"),
    ]


def test_seeds_are_samples(runs, reported, tmp_path):
    values = {(split, seed): 50 + 3 * split + seed for split in range(5) for seed in (7, 8)}
    for (split, seed), value in values.items():
        runs(value, split=split, seed=seed)
    out, _ = reported("runs", "--table", "t.csv")
    mean, spread = statistics.mean(values.values()), statistics.stdev(values.values())
    assert list(rows(out).values()) == [[f"{mean:.1f} ± {spread:.1f}"]]
    assert out.endswith("over 5 splits, 2 seeds (10 runs).\n")
    first = next(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert (first["runs"], first["splits"], first["seeds"]) == ("10", "5", "2")
    runs(40, al_method="coreset")
    out, _ = reported()
    assert rows(out)["labels only", "coreset"] == ["1 split", "40.0"]
    assert rows(out)["labels only", "random"][0] == "5 splits, 2 seeds (10 runs)"


def test_runs_of_different_length(runs, reported):
    """A cycle's mean is over the runs that have it."""
    runs(50, 60, 70, split=0)
    runs(52, 62, split=1)
    out, _ = reported()
    assert list(rows(out).values()) == [["51.0 ± 1.4", "61.0 ± 1.4", "70.0 (n = 1)"]]
    assert "n: over how many runs" in out


def test_a_run_that_is_there_twice_is_refused(runs, refused):
    runs(50, name="here", lr=0.1)
    runs(51, name="there", lr=0.1)
    line = refused("runs")
    assert "is not the only run of its split" in line
    assert "runs/here" in line and "runs/there" in line


def test_what_is_no_run_is_left_out_with_a_line(runs, reported):
    def spoil(file, content):
        spoiled = runs(50, 60, split=len(why))
        (spoiled / file).write_bytes(content)
        return str(spoiled.name)

    def config(**changes):
        return json.dumps({"al_nb_cycles": 2, "identity": {"options": OPTIONS}} | changes).encode()

    why = {}
    why[spoil("config.json", b'{"lr": 0.1}')] = "made by an older version"
    why[spoil("config.json", b'{"lr": ')] = "cannot be read"
    why[spoil("config.json", b"\xff\xfe")] = "cannot be read"
    why[spoil("config.json", b"[1, 2]")] = "not a run's"
    why[spoil("config.json", config(identity=[1]))] = "identity without options"
    why[spoil("config.json", config(identity={"options": {}}))] = "identity without dataset"
    why[spoil("config.json", config(al_nb_cycles="2"))] = "how many cycles"
    why[spoil("results.csv", b"")] = "is empty"
    why[spoil("results.csv", b"\x89PNG\x00\xff")] = "results.csv"
    why[spoil("results.csv", b"name,score\na,1\n")] = "no column cycle"
    why[spoil("results.csv", b"cycle,labeled,top1\n0,10,50,9,9\n1,20,60,9,9\n")] = "garbled"
    why[spoil("results.csv", b"cycle,labeled,top1\n0,10,50\n1,20\n")] = "top1 is not"
    why[spoil("results.csv", b"cycle,labeled,top1\n0,10,50\n1,20,high\n")] = "top1 is not"
    why[spoil("results.csv", b"cycle,labeled,top1\n0,10,50\n0,10,50\n")] = "cycle does not"
    why[spoil("results.csv", b"cycle,labeled,top1\n0,ten,50\n1,20,60\n")] = "labeled is not"
    foreign = runs(50)
    (foreign / "config.json").unlink()
    why[foreign.name] = "no config.json"
    runs(1, 2, split=1, name="99.old1")
    runs(51, 61, split=1, name="good")
    out, err = reported()
    assert list(rows(out).values()) == [["51.0", "61.0"]]
    lines = err.splitlines()
    assert len(lines) == len(why)
    for line, (folder, reason) in zip(lines, why.items(), strict=True):
        assert line.startswith(f"left out: runs/{folder}: ") and reason in line


def test_nothing_to_report(runs, reported, refused, tmp_path):
    assert "no finished run below nowhere" in refused("nowhere")
    runs(50, 60)
    assert "these runs have no val_top1" in refused("runs", "--measure", "val_top1")
    assert "these runs have no pseudo_accuracy" in refused("runs", "--measure", "pseudo_accuracy")
    assert "'loss' is unknown: one of top1" in refused("runs", "--measure", "loss")
    shutil.rmtree(tmp_path / "runs")
    runs(cycles=3)  # in its first cycle
    out, err = reported(status=2)
    assert not out
    assert err.splitlines() == [
        "left out: runs/00: 0 of 3 cycles are done",
        "report.py: error: no finished run below runs",
    ]


def test_a_target_that_is_not_the_reports_own_is_left_alone(runs, reported, refused, tmp_path):
    runs(50, 60)
    own = {"README.md": "# Mine\n", "mine.csv": "a,b\n", "mine.png": "no picture"}
    for name, text in own.items():
        (tmp_path / name).write_text(text)
        option = "--figure" if name.endswith("png") else "--table"
        assert "is not of a report" in refused("runs", option, name)
        assert (tmp_path / name).read_text() == text
    before = (tmp_path / "runs/00/results.csv").read_bytes()
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "link.svg").symlink_to(tmp_path / "mine.png")
    assert "must end in .md or .csv" in refused("runs", "--table", "t.txt")
    assert "must end in .md or .csv" in refused("runs", "--table", "t")
    assert "must end in .png or .pdf or .svg" in refused("runs", "--figure", "f.csv")
    for name in ("results.csv", "acquired.csv", "timing.csv"):
        assert "a run's own file" in refused("runs", "--table", f"runs/00/{name}")
    assert "not a regular file" in refused("runs", "--table", "folder.md")
    assert "not a regular file" in refused("runs", "--figure", "link.svg")
    assert (tmp_path / "runs/00/results.csv").read_bytes() == before
    for suffix in ("md", "csv", "png", "pdf", "svg"):
        option = "--table" if suffix in ("md", "csv") else "--figure"
        reported("runs", option, f"new/f.{suffix}")
        reported("runs", option, f"new/f.{suffix}")  # its own


def test_table_file_is_what_is_printed(runs, reported, tmp_path):
    runs(50, 60, al_method="a|b")
    out, _ = reported("runs", "--table", "t.md")
    assert (tmp_path / "t.md").read_text() == out and r"a\|b" in out


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figure_of_many_curves(runs, reported, tmp_path, suffix):
    """One file, with a row for each data set; nothing in a name is taken for a formula."""
    for i in range(12):
        runs(50 + i, 60 + i, 70, al_method=f"$\\frac$_{i}")
    runs(50, 60, al_method="$\\frac$_11", add_guest=True)
    runs(50, 60, dataset="other", step=100)
    out, _ = reported("runs", "--figure", f"f.{suffix}")
    assert "| 30 labels |" in out and "| 200 labels |" in out
    assert out.count("| data set |") == 2 and out.count("labels |") == 5  # a table a data set
    assert [path.name for path in tmp_path.glob("f*")] == [f"f.{suffix}"]
    content = (tmp_path / f"f.{suffix}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix])


def test_every_curve_has_a_look_of_its_own():
    styles = assign_styles(
        pd.DataFrame({"method": [f"method {i}" for i in range(60)], "group": range(60)})
    )
    looks = {(style["color"], style["marker"]) for style in styles.values()}
    assert len(styles) == len(looks) == 60


def test_the_baseline_of_a_row(runs, tmp_path):
    """Random choice from the same first labels where there is some, else from the usual ones; and
    chosen first labels against those."""
    chosen = {"initial": "lp_coverage"}
    for given in (
        *({"al_method": "random"}, {"al_method": "random"} | chosen),
        *({"al_method": "bald", "mc_passes": 10}, {"al_method": "coreset"} | chosen),
        *({"al_method": "random", "lr": 0.1}, {"al_method": "coreset", "initial": "typiclust"}),
    ):
        runs(50, 60, **given)
    groups = group_runs(read_runs_below(tmp_path / "runs")[0])
    told = {}
    for group in groups:
        if other := baselines.random_baseline(group, groups):
            told[group.display_name.method] = other.display_name.method
    assert len(groups) == 6 and told == {
        "random (initial lp_coverage, lr 0.2)": "random (lr 0.2)",
        "bald": "random (lr 0.2)",
        "coreset (initial lp_coverage)": "random (initial lp_coverage, lr 0.2)",
        "coreset (initial typiclust)": "random (lr 0.2)",
    }
