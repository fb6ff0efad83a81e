"""First labels that a method chooses without any labels, or that the data already have."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

import main_al
from al_methods import INITIAL_BALANCED, INITIAL_CHOICES, INITIAL_GIVEN, METHODS, select
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA, component_needs
from scripts import digits_as_folder
from tests.al_methods.test_coverage_methods import make_clusters
from tests.commands.test_main_al import rows
from utils.options.schema import fill_defaults

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 2 --device cpu"


def run_and_read_acquired(folder, words: str) -> list[dict]:
    """The rows of acquired.csv of a run in this folder."""
    assert main_al.main([*SHORT.split(), *words.split(), "--run-dir", str(folder)]) == 0
    with open(folder / "acquired.csv", newline="") as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "name", [name for name in INITIAL_CHOICES if name not in (INITIAL_BALANCED, INITIAL_GIVEN)]
)
def test_methods_that_need_no_labels(name):
    x, labels = make_clusters(), np.full(150, -1)
    inputs = {need: x for need in component_needs(fill_defaults(SCHEMA, {}), METHODS[name])}
    for budget in (12, 150):
        rng = np.random.default_rng(0)
        picks = select(name, **inputs, labels=labels, budget=budget, rng=rng)
        assert len(picks) == len(set(picks.tolist())) == budget and picks.min() >= 0


@pytest.mark.parametrize("name", ["random", "lp_coverage"])
def test_files_of_a_run_with_queried_first_labels(tmp_path, monkeypatch, name):
    """There is no split file; the first labels are in acquired.csv as cycle -1."""
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "labels"))
    acquired = run_and_read_acquired(tmp_path / "run", f"--initial {name} --initial-size 15")
    assert not (tmp_path / "labels").exists()
    assert [(row["cycle"], row["order"]) for row in acquired] == [
        *((-1, i) for i in range(15)),
        *((0, i) for i in range(10)),
    ]
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["state"]
    assert state["pool"]["labeled_order"].tolist() == [row["index"] for row in acquired]
    labels = state["pool"]["labels"].numpy()
    assert all(labels[row["index"]] == row["label"] for row in acquired)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["identity"]["options"]["initial"] == name
    again = run_and_read_acquired(tmp_path / "again", f"--initial {name} --initial-size 15")
    other = run_and_read_acquired(
        tmp_path / "other", f"--initial {name} --initial-size 15 --seed 8"
    )
    assert again == acquired and (other != acquired or name != "random")


def test_random_is_not_balanced(tmp_path):
    acquired = run_and_read_acquired(tmp_path, "--initial random --initial-size 60")
    classes = [row["label"] for row in acquired[:60]]
    assert len(set(np.bincount(classes, minlength=10))) > 1


def test_first_labels_are_not_of_the_validation_set(tmp_path):
    acquired = run_and_read_acquired(tmp_path / "run", "--initial lp_coverage --use-val-set")
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["state"]
    assert len(state["pool"]["labels"]) == 1437 - 500 and len(acquired) == 20


@pytest.mark.parametrize(
    "words, parts",
    [
        ("--initial jlp", ["--initial", "'jlp' is unknown", "balanced, random"]),
        ("--initial typiclust", ["--initial typiclust needs", "features"]),
        ("--coverage-radius 1", ["--coverage-radius", "--al-method probcover or --initial probc"]),
    ],
)
def test_errors_are_one_line(capsys, words, parts):
    with pytest.raises(SystemExit) as stopped:
        main_al.main([*SHORT.split(), *words.split()])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert all(part in error for part in parts), error


def test_options_of_the_initial_method_have_an_effect(tmp_path):
    few = run_and_read_acquired(tmp_path / "few", "--initial lp_coverage --lp-k 5")
    assert run_and_read_acquired(tmp_path / "many", "--initial lp_coverage --lp-k 90") != few


def test_given_labels_are_not_queried(tmp_path, capsys):
    """A folder in which two images per class are sorted; a person labels the others."""
    photos, folder = tmp_path / "photos", tmp_path / "run"
    assert digits_as_folder.main([str(photos), "--hide", "2"]) == 0
    words = f"--dataset folder --data-root {photos} --arch small_cnn --epochs 2 --al-budget 6 "
    words += "--al-nb-cycles 2 --device cpu --initial given --al-method coreset"
    labels_root = Path(os.environ["AL_LABELS_ROOT"])  # tests that ran before have written to it
    splits_before = set(labels_root.glob("folder-*"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        main_al.main(words.split())
    error = capsys.readouterr().err
    assert refused.value.code == 2 and "--initial given" in error and "--oracle file" in error
    words = [*words.split(), "--oracle", "file", "--run-dir", str(folder)]
    with pytest.raises(SystemExit):
        main_al.main([*words, "--initial-size", "6"])
    assert "--initial-size has no effect" in capsys.readouterr().err
    assert main_al.main(words) == 3
    results, first = rows(folder / "results.csv"), rows(folder / "acquired.csv")
    assert [row["labeled"] for row in results] == ["20"]
    assert {row["cycle"] for row in first} == {"-1"} and len(first) == 20
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    assert len(queried) == 6 and not {row["index"] for row in first} & set(queried)
    answers = "".join(f"{index},3\n" for index in queried)
    (folder / "labels.csv").write_text("index,label\n" + answers)
    assert main_al.main(words) == 0
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["20", "26"]
    assert json.loads((folder / "config.json").read_text())["initial_size"] is None
    assert set(labels_root.glob("folder-*")) == splits_before


def test_given_labels_must_leave_some_to_query(tmp_path, capsys):
    photos = tmp_path / "photos"
    assert digits_as_folder.main([str(photos)]) == 0
    words = f"--dataset folder --data-root {photos} --initial given --oracle file --al-budget 6"
    assert main_al.main([*words.split(), "--run-dir", str(tmp_path / "run")]) == 2
    assert "1491 labels" in capsys.readouterr().err  # all 1,437 and nine times six
