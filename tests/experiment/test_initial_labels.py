"""The first labels by a method: chosen without a single one, asked for like all others, kept."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

import main_al
from al_methods import INITIAL_BALANCED, INITIAL_CHOICES, INITIAL_GIVEN, METHODS, select
from experiment.checkpoint import load_checkpoint
from scripts import digits_as_folder
from tests.al_methods.test_coverage_methods import clustered_features
from tests.commands.test_main_al import rows
from utils.options.option import asked

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 2 --device cpu"


def run(folder, words: str) -> list[dict]:
    assert main_al.main([*SHORT.split(), *words.split(), "--run-dir", str(folder)]) == 0
    with open(folder / "acquired.csv", newline="") as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "name", [name for name in INITIAL_CHOICES if name not in (INITIAL_BALANCED, INITIAL_GIVEN)]
)
def test_a_method_chooses_without_a_label(name):
    x, labels = clustered_features(), np.full(150, -1)
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


def test_what_is_given_is_not_asked_for(tmp_path, capsys):
    """Of a folder in which two images a class are sorted; a person gives the others."""
    photos, folder = tmp_path / "photos", tmp_path / "run"
    assert digits_as_folder.main([str(photos), "--hide", "2"]) == 0
    words = f"--dataset folder --data-root {photos} --arch small_cnn --epochs 2 --al-budget 6 "
    words += "--al-nb-cycles 2 --device cpu --initial given --al-method coreset"
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        main_al.main(words.split())
    assert refused.value.code == 2 and "add --oracle file" in capsys.readouterr().err
    words = [*words.split(), "--oracle", "file", "--run-dir", str(folder)]
    with pytest.raises(SystemExit):
        main_al.main([*words, "--initial-size", "6"])
    assert "--initial-size is read only with" in capsys.readouterr().err
    assert main_al.main(words) == 3
    results, first = rows(folder / "results.csv"), rows(folder / "acquired.csv")
    assert [row["labeled"] for row in results] == ["20"]
    assert {row["cycle"] for row in first} == {"-1"} and len(first) == 20
    asked = [row["index"] for row in rows(folder / "queries.csv")]
    assert len(asked) == 6 and not {row["index"] for row in first} & set(asked)
    answers = "".join(f"{index},3\n" for index in asked)
    (folder / "labels.csv").write_text("index,label\n" + answers)
    assert main_al.main(words) == 0
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["20", "26"]
    assert json.loads((folder / "config.json").read_text())["initial_size"] is None
    assert not list(Path(os.environ["AL_LABELS_ROOT"]).glob("folder-*"))


def test_given_labels_leave_some_to_ask_for(tmp_path, capsys):
    photos = tmp_path / "photos"
    assert digits_as_folder.main([str(photos)]) == 0
    words = f"--dataset folder --data-root {photos} --initial given --oracle file --al-budget 6"
    assert main_al.main([*words.split(), "--run-dir", str(tmp_path / "run")]) == 2
    assert "needs 1491 labels" in capsys.readouterr().err  # all 1,437, and nine times six
