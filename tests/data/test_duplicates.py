"""Duplicates: which images are a group, which one stands for it, and who inherits which label."""

import csv

import numpy as np
import pytest
import torch

import main_al
import predict
from data import DATASETS
from data.active_pool import ActivePool
from data.budget import DataSize
from data.duplicates import (
    ASK_EACH,
    ASK_ONE,
    ASK_ONE_NEAR,
    describe_groups,
    digest_rows,
    find_groups,
    find_representatives,
    inherit_labels,
    subset_groups,
)
from data.feature_vectors import Features
from data.images import Images
from data.pool import Pool, Targets
from experiment.config import SCHEMA
from utils.options.schema import fit_defaults_to_data, validate_options


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"].load("")[0]


def groups_of(part, mode=ASK_ONE):
    return find_groups(part, mode, digest_rows(part))


def images(pixels):
    return Images(torch.as_tensor(pixels), np.zeros(len(pixels), np.int64))


# ---- Groups.


def test_digits_have_no_duplicates(digits):
    assert groups_of(digits) is None and groups_of(digits, ASK_ONE_NEAR) is None


def test_identical_images_and_rows(digits):
    order = [0, 1, 0, 2, 1, 0]
    expected = [0, 1, 0, 3, 1, 0]
    pixels = digits.pixels[order]
    assert groups_of(images(pixels)).tolist() == expected
    rows = Features(pixels.flatten(1).float(), np.zeros(6, np.int64))
    assert groups_of(rows).tolist() == expected
    assert find_groups(images(pixels), ASK_EACH, []) is None
    pixels = pixels.clone()
    pixels[5, 0, 0, 0] += 1  # one level of one pixel
    assert groups_of(images(pixels)).tolist() == [0, 1, 0, 3, 1, 5]
    assert groups_of(images(pixels), ASK_ONE_NEAR).tolist() == expected


def test_near_duplicates_are_near_to_the_first_of_their_group():
    """A chain of small steps does not join different images: against a slow reference."""
    rng = np.random.default_rng(0)
    far = rng.normal(0, 1, (300, 5))
    chain = np.linspace(0, 1, 60)[:, None] * np.array([2.0, 0, 0, 0, 0]) + 9
    rows = np.concatenate([far, chain, far[:20] + 0.01]).astype(np.float32)
    groups = groups_of(Features(torch.from_numpy(rows), np.zeros(len(rows))), ASK_ONE_NEAR)
    others = np.random.default_rng(0).permutation(len(rows))
    limit = 0.1**2 * np.median(np.square(rows - rows[others]).sum(axis=1))
    expected = np.full(len(rows), -1)
    for i in range(len(rows)):
        if expected[i] < 0:
            near = np.square(rows - rows[i]).sum(axis=1) <= limit
            expected[near & (expected < 0)] = i
    np.testing.assert_array_equal(groups, expected)
    assert (groups[-20:] == np.arange(20)).all()
    assert 2 < len(np.unique(groups[300:360])) < 20


def test_groups_of_a_part():
    groups = np.array([0, 1, 0, 3, 1, 0])
    np.testing.assert_array_equal(subset_groups(groups, np.array([1, 2, 4, 5])), [0, 1, 0, 1])
    assert subset_groups(groups, np.array([0, 1, 3])) is None


def test_lines_on_the_groups():
    first, second = describe_groups(np.array([0, 1, 0, 3, 1]), np.array([5, 6, 5, 5, 7]))
    assert "4 training images are in 2 groups" in first and "of 1 group have" in second
    assert len(describe_groups(np.array([0, 0]), np.array([-1, 3]))) == 1


# ---- One image stands for its group.

GROUPS = np.array([0, 1, 0, 3, 1, 0, 6])


def test_representatives():
    labels = np.full(7, -1)
    assert find_representatives(GROUPS, labels).tolist() == [0, 1, 3, 6]
    labels[[2, 4]] = 5
    assert find_representatives(GROUPS, labels).tolist() == [2, 3, 4, 6]
    assert find_representatives(GROUPS, labels, np.array([5, 3])).tolist() == [2, 4, 6]


def test_inherited_labels():
    """Those of the majority; of several, the label that was there first."""
    labels = np.array([-1, -1, 4, -1, 8, -1, 2])
    inherited = inherit_labels(GROUPS, labels, np.array([6, 4, 2]))
    assert [part.tolist() for part in inherited] == [[0, 1, 5], [4, 8, 4], [2, 4, 2]]
    one_group = np.zeros(6, int)
    for order, expected in (([1, 2, 3], 7), ([2, 3], 9), ([3, 2], 7), ([1, 3, 2, 4], 7)):
        labels = np.full(6, -1)
        labels[order] = np.array([0, 7, 9, 7, 9, 0])[order]
        inherited = inherit_labels(one_group, labels, np.array(order))
        assert set(inherited.labels.tolist()) == {expected}


def test_an_active_pool():
    pool = Pool.make_unlabeled(7).reveal_labels(np.array([4, 3]), np.array([1, 0]))
    active = ActivePool.of(pool, GROUPS, without=np.array([6]))
    assert active.rows.tolist() == [0, 3, 4]
    assert active.pool.labels.tolist() == [-1, 0, 1]
    assert active.pool.labeled_order.tolist() == [2, 1]
    chosen = active.select(
        {"a": torch.arange(7), "b": np.arange(14).reshape(7, 2), "c": torch.ones(())}
    )
    assert chosen["a"].tolist() == [0, 3, 4] and chosen["b"][:, 0].tolist() == [0, 6, 8]
    assert chosen["c"] == 1
    soft = np.arange(6, dtype=np.float32).reshape(3, 2)
    weights = np.array([0.5, 1, 1], np.float32)
    targets = Targets(np.array([1, 0, 1]), weights, np.ones(2, np.float32), soft, weights)
    spread = active.spread_targets(targets)
    assert spread.labels.tolist() == [1, -1, -1, 0, 1, -1, -1]
    assert spread.weights.tolist() == spread.sampling_weights.tolist() == [0.5, 0, 0, 1, 1, 0, 0]
    back = active.select_targets(spread)
    for name in ("labels", "weights", "soft_labels", "sampling_weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(targets, name))
    first, second = active.to_positions((np.array([0, 2]), np.array([1])))
    assert first.tolist() == [0, 4] and second.tolist() == [3]
    assert active.find_stand_ins(GROUPS).tolist() == [0, 2, 0, 1, 2, 0, -1]


def test_a_pool_without_duplicates_is_itself():
    pool = Pool.make_unlabeled(4)
    active = ActivePool.of(pool, None, without=np.empty(0, int))
    assert active.pool is pool and active.rows is None
    assert active.find_stand_ins(None).tolist() == [0, 1, 2, 3]


# ---- Runs.

RUN = "--dataset arrays --device cpu --al-budget 10 --al-nb-cycles 3 --epochs 2"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_data(folder, digits, copies=(), test=False):
    """300 digits, and copies of some of them, behind a test part of its own."""
    order = [*range(300), *copies]
    np.savez(
        folder / "data.npz",
        x_train=digits.pixels[order, 0],
        y_train=digits.labels[order],
        x_test=digits.pixels[[*range(600, 700), *(copies if test else ())], 0],
        y_test=digits.labels[[*range(600, 700), *(copies if test else ())]],
    )
    return ["--data-root", str(folder / "data.npz")]


@pytest.fixture
def run(tmp_path):
    def call(name, data, *words):
        folder = tmp_path / name
        assert main_al.main([*RUN.split(), *data, *words, "--run-dir", str(folder)]) == 0
        return folder

    return call


@pytest.mark.parametrize(
    "words",
    [
        "--al-method margin",
        "--add-lp --lp-k 5 --initial lp_coverage --al-method lp_coverage",
        "--add-fixmatch --b 4 --steps-per-epoch 2",
        "--add-ceal --ceal-th 1 --al-method coreset",
        "--add-ceal --ceal-th 1 --ceal-repeat",
    ],
)
def test_copies_change_no_byte_of_a_run(words, run, tmp_path, digits):
    """A run with copies of all images queries, trains and reports as one without them: the same
    picks, pseudo-labels and weights."""
    words = ["--initial", "random", *words.split()]
    once = run("once", write_data(tmp_path, digits), *words)
    twice = run("twice", write_data(tmp_path, digits, range(300)), *words)
    for name in ("results.csv", "acquired.csv"):
        assert (once / name).read_bytes() == (twice / name).read_bytes()
    a, b = (torch.load(f / "checkpoint.pt", weights_only=True)["model"] for f in (once, twice))
    assert all(torch.equal(a[name], b[name]) for name in a)
    inherited = rows(twice / "inherited.csv")
    assert not (once / "inherited.csv").exists()
    assert {row["cycle"] for row in inherited} == {"-1", "0", "1"}
    for row in inherited:
        assert abs(int(row["index"]) - int(row["same_as"])) == 300
        assert int(row["label"]) == digits.labels[int(row["same_as"]) % 300]
    queried = [int(row["index"]) % 300 for row in rows(twice / "acquired.csv")]
    assert len(set(queried)) == len(queried)


def test_a_predicted_table_has_the_inherited_labels(run, tmp_path, digits):
    data = write_data(tmp_path, digits, range(40))
    folder = run("run", data, "--add-lp", "--lp-k", "5")
    table = tmp_path / "out.csv"
    assert predict.main([str(folder), "--pseudo", "--csv", str(table)]) == 0
    given = {row["index"]: row for row in rows(table) if row["given"] == "1"}
    inherited = rows(folder / "inherited.csv")
    assert inherited and len(given) == 30 + len(inherited)
    for row in inherited:
        assert given[row["index"]]["class"] == row["label"]
        assert given[row["index"]]["pseudo"] == given[row["same_as"]]["pseudo"] == row["label"]


def test_copies_in_the_test_part_inherit_nothing(run, tmp_path, digits):
    data = write_data(tmp_path, digits, range(40), test=True)
    folder = run("run", data)
    numbers = {int(row["index"]) for row in rows(folder / "inherited.csv")}
    assert numbers and max(numbers) < 340


def test_every_image_is_queried_by_itself_on_request(run, tmp_path, digits):
    data = write_data(tmp_path, digits, [7] * 60)
    words = ["--initial", "random", "--initial-size", "300", "--al-nb-cycles", "1"]

    def count(name, mode):
        folder = run(name, data, *words, "--duplicates", mode)
        indices = [int(row["index"]) for row in rows(folder / "acquired.csv")]
        assert len(indices) == 300 and (folder / "inherited.csv").exists() == (mode != "ask-each")
        return sum(index == 7 or index >= 300 for index in indices)

    assert count("each", "ask-each") > 10
    assert count("one", "ask-one") == count("near", "ask-one-near") == 1


def test_a_budget_beyond_the_distinct_images_is_refused(tmp_path, digits, capsys):
    data = write_data(tmp_path, digits, [*range(300)] * 2)
    words = ["--al-budget", "200", "--al-nb-cycles", "2", "--initial-size", "120"]
    folder = ["--run-dir", str(tmp_path / "run")]
    assert main_al.main([*RUN.split(), *data, *words, *folder]) == 2
    line = capsys.readouterr().err
    assert "has 900 training images" in line and "without duplicates" in line
    words += ["--duplicates", "ask-each", "--epochs", "1"]
    assert main_al.main([*RUN.split(), *data, *words, *folder]) == 0


def test_labels_that_differ_in_a_group(run, tmp_path, digits):
    """Noise in the labels of the data: all copies get the label of the one that is queried."""
    write_data(tmp_path, digits, range(100))
    with np.load(tmp_path / "data.npz") as file:
        parts = dict(file)
    parts["y_train"][300:] = (parts["y_train"][300:] + 1) % 10
    np.savez(tmp_path / "data.npz", **parts)
    folder = run("run", ["--data-root", str(tmp_path / "data.npz")])
    assert "the images of 100 groups have different classes" in (folder / "log.txt").read_text()
    inherited = rows(folder / "inherited.csv")
    assert inherited
    for row in inherited:
        assert int(row["label"]) == parts["y_train"][int(row["same_as"])]
        assert int(row["label"]) != parts["y_train"][int(row["index"])]


@pytest.mark.parametrize("copies, inherits", [(20, True), (60, False)])
def test_repeated_rows_of_features(run, tmp_path, digits, copies, inherits):
    """A few are duplicates; where there are many, the file is a table, and the log says so."""
    order = [*range(300), *range(copies)]
    np.savez(
        tmp_path / "rows.npz",
        x_train=digits.pixels[order].flatten(1).float(),
        y_train=digits.labels[order],
        x_test=digits.pixels[600:700].flatten(1).float(),
        y_test=digits.labels[600:700],
    )
    words = [
        "--dataset",
        "features",
        "--data-root",
        str(tmp_path / "rows.npz"),
        "--al-budget",
        "40",
    ]
    folder = run("run", words)
    assert (folder / "inherited.csv").exists() == inherits
    log = (folder / "log.txt").read_text()
    assert ("--duplicates is ask-each instead of ask-one" in log) != inherits


# ---- Defaults.


def fit(size, **given):
    options = validate_options(SCHEMA, {"dataset": "arrays", "data_root": "x"} | given)
    return fit_defaults_to_data(SCHEMA, options, size)


def test_a_table_is_not_taken_for_duplicates():
    """Different things have equal rows in it, while identical images are one thing."""
    sizes = (100,) * 10
    for duplicates, is_table, expected in (
        (90, True, ASK_ONE), (110, True, ASK_EACH), (500, False, ASK_ONE)
    ):  # fmt: skip
        options, lines = fit(DataSize(1000, 1000, sizes, duplicates, is_table), al_nb_cycles=2)
        assert options.duplicates == expected
        assert len(lines) == (expected == ASK_EACH)
    options, _ = fit(DataSize(1000, 1000, sizes, 900, True), duplicates=ASK_ONE)
    assert options.duplicates == ASK_ONE and options.al_budget == 10
    options, _ = fit(DataSize(1000, 1000, sizes, 900, True), duplicates=ASK_EACH)
    assert options.al_budget == 100
