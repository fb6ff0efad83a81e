"""The study of estimates without a fixed graph: its sweep, and the truth that it compares with."""

import csv

import numpy as np

import main_al
import sweep
from data import DATASETS
from data.state import from_dict
from experiment import setup
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA
from scripts.studies.estimate_of_runs import main, read_estimates
from utils.options.schema import fill_defaults

WORDS = "--arch small_cnn --add-lp --al-method margin --audit 3 --al-budget 10 --al-nb-cycles 3"


def test_the_sweep_has_runs_on_digits_and_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "clusters-0.npz", features=np.eye(30), labels=np.arange(30) % 3)
    assert main([str(tmp_path), "sweep.yaml"]) == 0
    assert sweep.main(["sweep.yaml", "--dry-run"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 35 + 3
    assert sum("clusters-0.npz" in command and "--arch mlp" in command for command in commands) == 3


def test_estimates_are_compared_with_the_unlabeled_images(tmp_path, capsys):
    folder = tmp_path / "run"
    words = [*WORDS.split(), "--epochs", "1", "--device", "cpu", "--run-dir", str(folder)]
    assert main_al.main(words) == 0
    (found,) = read_estimates(folder)  # of the second of three cycles
    (row,) = [
        r for r in read(folder / "estimates.csv") if (r["cycle"], r["model"]) == ("1", "network")
    ]
    assert [str(row[name]) for name in ("accuracy", "low", "high")] == [
        f"{value:.2f}" for value in found[1:]
    ]
    options = fill_defaults(SCHEMA, {"dataset": "digits", "al_budget": 10})
    labeled = [int(r["index"]) for r in read(folder / "acquired.csv") if r["cycle"] == "0"]
    labeled += setup.open_dataset(options)[0].initial_indices.tolist()
    labels = DATASETS["digits"].load("")[0].labels
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    right = np.delete(state.predictions[1] == labels, labeled)
    assert len(labeled) == 20 and abs(found.truth - 100 * right.mean()) < 1e-9
    capsys.readouterr()
    assert main([str(folder), "--summary"]) == 0
    assert "| digits, label propagation, audit | 1 | 1 | " in capsys.readouterr().out


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
