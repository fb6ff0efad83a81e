"""Defaults that nobody gave fit small data; values that were given are refused."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import main_al
from data.budget import DataSize
from experiment.config import SCHEMA
from utils.options.schema import fit_defaults_to_data, identity_options, validate_options


def fit(size, known=None, **given):
    given = {"dataset": "arrays", "data_root": "x"} | given
    options = validate_options(SCHEMA, given)
    known = size if known is None else known
    sizes = tuple(known // 10 for _ in range(10))
    return fit_defaults_to_data(SCHEMA, options, DataSize(size, known, sizes))


LP = {"add_lp": True, "al_budget": 10, "al_nb_cycles": 2}
CASES = [
    (40, LP, {"batch_size": 40, "labeled_batch_size": 15}),
    (40, LP | {"labeled_batch_size": 60}, {}),
    (40, LP | {"batch_size": 128}, {"labeled_batch_size": 15}),
    (50, LP, {}),
    (20, {"add_fixmatch": True, "al_budget": 10, "al_nb_cycles": 2}, {"batch_size": 20}),
    (20, {"al_budget": 10, "al_nb_cycles": 2}, {}),
    (40, {}, {"al_budget": 4, "initial_size": 4}),
    (40, {"al_nb_cycles": 2}, {"al_budget": 20, "initial_size": 20}),
    (40, {"al_budget": 10}, {"al_nb_cycles": 4}),
    (40, {"al_budget": 10, "al_nb_cycles": 9}, {}),
    (40, {"initial_size": 20}, {"al_budget": 2}),
    (40, {"al_budget": 10, "al_nb_cycles": 1, "add_unsupervised_pretraining": True},
     {"pretraining_clusters": 20}),
    (1000, {}, {}),
    (1000, LP, {}),
]  # fmt: skip


@pytest.mark.parametrize("size, given, expected", CASES)
def test_only_defaults_that_do_not_fit_shrink(size, given, expected):
    before = validate_options(SCHEMA, {"dataset": "arrays", "data_root": "x"} | given)
    options, lines = fit(size, **given)
    changed = {
        name: value for name, value in options.as_dict().items()
        if value != before.as_dict()[name]
    }  # fmt: skip
    assert changed == expected and len(lines) == len(expected)
    if not expected:
        assert identity_options(SCHEMA, options) == identity_options(SCHEMA, before)


def test_a_class_with_few_images_limits_the_split():
    options = validate_options(SCHEMA, {"dataset": "arrays", "data_root": "x", "al_budget": 50})
    fitted, _ = fit_defaults_to_data(SCHEMA, options, DataSize(900, 900, (440, 450, 10)))
    assert fitted.initial_size == 30 and fitted.al_budget == 50


@pytest.mark.parametrize(
    "words, status", [("--add-lp", 0), ("--add-lp --labeled-batch-size 50", 2)]
)
def test_forty_images(words, status, tmp_path, home, capsys):
    digits = load_digits()
    some = np.concatenate([np.flatnonzero(digits.target == c)[:4] for c in range(10)])
    rest = np.setdiff1d(np.arange(200), some)
    np.savez(
        tmp_path / "a.npz", images=np.uint8(digits.images[some] * 15), labels=digits.target[some],
        test_images=np.uint8(digits.images[rest] * 15), test_labels=digits.target[rest],
    )  # fmt: skip
    command = ["--dataset", "arrays", "--data-root", str(tmp_path / "a.npz"), "--al-budget", "10",
               "--al-nb-cycles", "2", "--epochs", "1", "--device", "cpu", "--arch", "small_cnn",
               "--run-dir", str(tmp_path / "run"), *words.split()]  # fmt: skip
    assert main_al.main(command) == status
    text = "".join(capsys.readouterr())
    if status == 0:
        assert "--labeled-batch-size is 15 instead of 50" in text
        assert main_al.main(command) == 0  # recognised as finished
        assert "nothing to do" in "".join(capsys.readouterr())
    else:
        assert "--labeled-batch-size 50" in text
