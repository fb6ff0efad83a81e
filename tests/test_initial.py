"""The first labels by a method: chosen without a single one, asked for like all others, kept."""

import csv
import json

import numpy as np
import pytest

import main_al
from al_methods import BALANCED, FIRST, METHODS, select
from tests.test_methods_coverage import clumps
from utils.options.declare import asked
from utils.run.checkpoint import load_checkpoint

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 2 --device cpu"


def run(folder, words: str) -> list[dict]:
    assert main_al.main([*SHORT.split(), *words.split(), "--run-dir", str(folder)]) == 0
    with open(folder / "acquired.csv", newline="") as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", [name for name in FIRST if name != BALANCED])
def test_a_method_chooses_without_a_label(name):
    x, labels = clumps(), np.full(150, -1)
    given = {need: x for need in asked(METHODS[name].needs, {})}
    picks = select(name, **given, labels=labels, budget=12, rng=np.random.default_rng(0))
    assert len(set(picks.tolist())) == 12 and picks.min() >= 0
    assert (
        len(select(name, **given, labels=labels, budget=150, rng=np.random.default_rng(0))) == 150
    )


@pytest.mark.parametrize("name", ["random", "lp_coverage"])
def test_what_a_run_leaves(tmp_path, monkeypatch, name):
    """No split's file; the first labels stand in acquired.csv, before cycle 0."""
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "labels"))
    rows = run(tmp_path / "run", f"--initial {name} --initial-size 15")
    assert not (tmp_path / "labels").exists()
    assert [(row["cycle"], row["order"]) for row in rows] == [
        *((-1, i) for i in range(15)),
        *((0, i) for i in range(10)),
    ]
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["state"]
    assert state["pool"]["order"].tolist() == [row["index"] for row in rows]
    revealed = state["pool"]["labels"].numpy()
    assert all(revealed[row["index"]] == row["label"] for row in rows)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["identity"]["options"]["initial"] == name
    again = run(tmp_path / "again", f"--initial {name} --initial-size 15")
    other = run(tmp_path / "other", f"--initial {name} --initial-size 15 --seed 8")
    assert again == rows and (other != rows or name != "random")


def test_random_is_not_balanced(tmp_path):
    classes = [row["label"] for row in run(tmp_path, "--initial random --initial-size 60")[:60]]
    assert len(set(np.bincount(classes, minlength=10))) > 1


def test_with_a_validation_set_the_first_labels_are_of_the_others(tmp_path):
    rows = run(tmp_path / "run", "--initial lp_coverage --use-val-set")
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["state"]
    assert len(state["pool"]["labels"]) == 1437 - 500 and len(rows) == 20


@pytest.mark.parametrize(
    "words, told",
    [
        ("--initial jlp", "'jlp' is unknown: one of balanced, random"),
        ("--initial typiclust", "--initial typiclust needs the features"),
        ("--coverage-radius 1", "--al-method probcover or --initial probcover"),
    ],
)
def test_refused_in_one_line(capsys, words, told):
    with pytest.raises(SystemExit) as stopped:
        main_al.main([*SHORT.split(), *words.split()])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and told in error and error.count("\n") == 1


def test_an_option_of_the_first_choice_alone_is_read(tmp_path):
    assert run(tmp_path / "a", "--initial lp_coverage --lp-k 5") != run(
        tmp_path / "b", "--initial lp_coverage --lp-k 90"
    )
