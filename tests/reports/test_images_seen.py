"""The images that a finished run's training has seen, told from its files, are those it saw."""

import json
import math

import pandas as pd
import pytest

import main_al
from data.batches import BatchLoader
from reports.images_seen import count_images_seen

BASE = "--dataset digits --arch small_cnn --device cpu --al-budget 20 --al-nb-cycles 2 --epochs 3"


def run(words: str, folder):
    """-> config.json and results.csv of a run."""
    assert main_al.main([*BASE.split(), *words.split(), "--run-dir", str(folder)]) == 0
    return json.loads((folder / "config.json").read_text()), pd.read_csv(folder / "results.csv")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--batch-size 8 --initial-size 10",
        "--steps-per-epoch 4 --batch-size 64",
        "--add-lp",
        "--add-lp --lp-mode full --weighted-unlabeled-batch --batch-size 64",
        "--add-lp --steps-per-epoch 3",
        "--add-ceal --ceal-th 0.9 --arch sized_cnn --epochs 40",
    ],
)
def test_as_many_as_the_batches_held(words, tmp_path, monkeypatch):
    held, whole = [], BatchLoader.__iter__

    def counted(batches):
        for views in whole(batches):
            held.append(sum(len(view.images) for view in views))
            yield views

    monkeypatch.setattr(BatchLoader, "__iter__", counted)
    config, results = run(words, tmp_path / "run")
    assert results["pseudo_labels"].max() > 0 or "--add" not in words
    assert count_images_seen(config, results) == sum(held)


def test_what_cannot_be_told_is_not(tmp_path):
    config, results = run("--add-fixmatch --al-nb-cycles 1 --epochs 1", tmp_path / "run")
    assert math.isnan(count_images_seen(config, results))
    config, results = run("", tmp_path / "other")
    for broken in ({"epochs": "many"}, {"dataset": "of another version"}, {"batch_size": None}):
        assert math.isnan(count_images_seen(config | broken, results))
    assert math.isnan(count_images_seen(config, results.drop(columns="pseudo_labels")))
