"""The report: right numbers, a figure that is one, one line for what it cannot use."""

import csv
import json
import statistics

import pytest

from tests.conftest import ROOT


@pytest.fixture
def runs(tmp_path):
    def write(split, accuracies, cycles=2, method="random", **options):
        options = {
            "add_lp": False,
            "add_ceal": False,
            "add_unsupervised_pretraining": False,
        } | options
        folder = tmp_path / "runs" / method / str(sorted(options.items())) / f"split{split}"
        folder.mkdir(parents=True)
        config = {"dataset": "digits", "al_method": method, "split": split, "al_nb_cycles": cycles}
        (folder / "config.json").write_text(json.dumps(config | options))
        with open(folder / "results.csv", "w") as file:
            writer = csv.writer(file)
            writer.writerow(["cycle", "labeled", "top1", "pseudo_accuracy"])
            for cycle, accuracy in enumerate(accuracies):
                writer.writerow([cycle, 10 * (cycle + 1), accuracy, ""])

    return write


def test_mean_and_spread(runs, command, tmp_path):
    values = [51.25, 58.75, 55.5]
    for split, value in enumerate(values):
        runs(split, [value, 80])
        runs(split, [value + 20, 90], add_lp=True)
    runs(9, [1.0])  # unfinished
    words = ("--figure", "f.png", "--table", "t.csv")
    done = command("python", ROOT / "report.py", "runs", *words)
    assert done.returncode == 0, done.stderr
    mean, spread = statistics.mean(values), statistics.stdev(values)
    assert (
        f"| digits | labels only | random | {mean:.1f} ± {spread:.1f} | 80.0 ± 0.0 |" in done.stdout
    )
    assert f"| digits | LP | random | {mean + 20:.1f} ± {spread:.1f} |" in done.stdout
    assert "over 3 splits" in done.stdout and "1 unfinished runs left out" in done.stderr
    with open(tmp_path / "t.csv") as file:
        first = next(csv.DictReader(file))
    assert float(first["mean"]) == pytest.approx(mean) and first["splits"] == "3"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_refusals(runs, command, tmp_path):
    def refused(*words):
        done = command("python", ROOT / "report.py", *words)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "no finished run below nowhere" in refused("nowhere")
    runs(0, [50, 60])
    assert "these runs have no val_top1" in refused("runs", "--measure", "val_top1")
    assert "'loss' is unknown: one of top1" in refused("runs", "--measure", "loss")
    runs(0, [50, 60], lr=0.1)
    assert "is not the only run of its split" in refused("runs")
