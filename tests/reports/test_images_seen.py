"""The number of images that a run saw, recomputed from its files, is what its batches held."""

import json
import math

import pandas as pd
import pytest

import main_al
from data.batches import BatchLoader
from reports.images_seen import count_images_seen

BASE = "--dataset digits --arch small_cnn --device cpu --al-budget 20 --al-nb-cycles 2 --epochs 3"


def run(options: str, folder):
    """Executes a run and returns its config.json and results.csv."""
    assert main_al.main([*BASE.split(), *options.split(), "--run-dir", str(folder)]) == 0
    return json.loads((folder / "config.json").read_text()), pd.read_csv(folder / "results.csv")


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--batch-size 8 --initial-size 10",
        "--steps-per-epoch 4 --batch-size 64",
        "--add-lp",
        "--add-lp --lp-mode full --weighted-unlabeled-batch --batch-size 64",
        "--add-lp --steps-per-epoch 3",
        "--add-ceal --ceal-th 0.95 --arch sized_cnn --epochs 20 --lr 0.3",
    ],
)
def test_count_equals_the_images_in_the_batches(options, tmp_path, monkeypatch):
    batch_sizes, original_iter = [], BatchLoader.__iter__

    def count_batches(batches):
        for augmentations in original_iter(batches):
            batch_sizes.append(sum(len(batch.images) for batch in augmentations))
            yield augmentations

    monkeypatch.setattr(BatchLoader, "__iter__", count_batches)
    config, results = run(options, tmp_path / "run")
    assert results["pseudo_labels"].max() > 0 or "--add" not in options
    assert count_images_seen(config, results) == sum(batch_sizes)


def test_unknown_count_is_nan(tmp_path):
    config, results = run("--add-fixmatch --al-nb-cycles 1 --epochs 1", tmp_path / "run")
    assert math.isnan(count_images_seen(config, results))
    config, results = run("", tmp_path / "other")
    for edited in ({"epochs": "many"}, {"dataset": "of another version"}, {"batch_size": None}):
        assert math.isnan(count_images_seen(config | edited, results))
    assert math.isnan(count_images_seen(config, results.drop(columns="pseudo_labels")))
