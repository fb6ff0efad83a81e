"""The study of the time to a result: its runs, what is kept of them, and its table."""

import csv
from pathlib import Path

import numpy as np
import pytest

from scripts.studies import time_to_result
from scripts.studies.time_to_result import COLUMNS, main

QUICK = "--arch small_cnn --epochs 1"


@pytest.fixture
def data(tmp_path):
    """120 images of 8 x 8 pixels and two classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = rng.integers(0, 100, size=(120, 8, 8)).astype(np.uint8)
    images[labels == 1, :4] += 120
    np.savez(tmp_path / "halves.npz", images=images, labels=labels)
    return tmp_path / "halves.npz"


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_stopped_study_runs_what_is_missing(data, tmp_path, monkeypatch, capsys):
    """The same options and code twice have the same accuracy; a run that fails has no row."""
    monkeypatch.setattr(time_to_result, "COMMON", "--initial-size 4 --al-budget 4 --al-nb-cycles 1")
    monkeypatch.setattr(time_to_result, "WAYS", {"before": QUICK, "now": QUICK})
    out, root = tmp_path / "out.csv", str(Path(__file__).resolve().parents[2])
    command = [str(data), str(out), "--before", root, "--processes", "2"]
    assert main([*command, "--seeds", "0", "--only", "now"]) == 0
    assert main([*command, "--seeds", "0", "--way", "wrong=--no-such-option"]) == 1
    assert "--no-such-option" in capsys.readouterr().err
    rows = {row["way"]: row for row in read(out)}
    assert [row["way"] for row in read(out)] == ["now", "before"]
    assert tuple(rows["now"]) == COLUMNS and rows["now"]["data"] == "halves"
    assert rows["now"]["top1"] == rows["before"]["top1"]
    assert float(rows["now"]["seconds"]) >= float(rows["now"]["train"]) > 0
    assert float(rows["now"]["cpu_seconds"]) > float(rows["now"]["train"])
    assert main([*command, "--seeds", "1", "--minutes", "0"]) == 0
    assert len(read(out)) == 2  # nothing starts when the time is over


def test_the_table_pairs_the_runs_of_a_seed(tmp_path, capsys):
    rows = [
        {"way": way, "seed": seed, "top1": top1, "cpu_seconds": cpu, "seconds": cpu}
        for way, seed, top1, cpu in (
            *(("before", 0, 90.0, 100), ("before", 1, 96.0, 200), ("before", 2, 50.0, 1000)),
            *(("now", 0, 91.0, 25), ("now", 1, 98.0, 60)),
        )
    ]
    with open(tmp_path / "out.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({"data": "digits", **row} for row in rows)
    assert main(["digits", str(tmp_path / "out.csv"), "--summary"]) == 0
    *_, before, now = capsys.readouterr().out.splitlines()
    assert before == "| digits | before | 3 | 78.67 ± 25.01 |  | 200 | 200 |  |"
    # The difference of two pairs, 1 and 2 points: 1.5 ± 12.71 · 0.5.
    assert "| 94.50 ± 4.95 | +1.50 (-4.85 to +7.85) | 42 | 42 | 0.28 (0.25 to 0.30) |" in now
