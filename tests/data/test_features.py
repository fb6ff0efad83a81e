"""Features of any encoder instead of images: how they are read, what is refused, and runs."""

import numpy as np
import pytest
import torch

from data import DATASETS
from data.feature_vectors import FeatureStore
from data.features import FeatureOptions
from tests.data.test_custom_data import assert_contains, run
from utils import diffusion
from utils.errors import UserError
from utils.graph import affinity_graph

ROWS = np.arange(60, dtype=np.float32).reshape(12, 5) / 7
LABELS = np.arange(12) % 3


def read(root):
    return DATASETS["features"].load_and_check(str(root), files=FeatureOptions())


def with_value(place, value, dtype=np.float32):
    rows = ROWS.astype(dtype)
    rows[place] = value
    return rows


@pytest.mark.parametrize(
    "arrays, expected",
    [
        ({"features": with_value((4, 1), np.nan)}, ("row 4 of the features of {root}", "finite")),
        ({"features": with_value((5, 1), -np.inf)}, ("row 5 of the features of {root}", "finite")),
        (
            {"features": with_value((6, 1), 1e300, np.float64)},
            ("row 6 of the features of {root}", "finite"),
        ),
        ({"features": with_value((7, 0), -2e15)}, ("row 7 of the features of {root}", "1e+15")),
        ({"features": ROWS[:, 0]}, ("{root}", "(12,)", "(N, d)")),
        ({"features": ROWS[:, :0]}, ("{root}", "(12, 0)", "(N, d)")),
        ({"features": ROWS.astype(str)}, ("{root}", "not numbers")),
        ({"features": np.array([{}] * 12)}, ("{root}", "pickled objects")),
        ({"labels": LABELS[:-2]}, ("{root}", "12 images", "10 labels")),
        ({"labels": LABELS - 2}, ("label 0 of {root} is -2", "or -1")),
        ({"test_features": ROWS}, ("{root}", "no array test_labels")),
        (
            {"test_features": ROWS[:, 1:], "test_labels": LABELS},
            ("{root}", "5 dimensions", "test features 4"),
        ),
    ],
)
def test_odd_features(arrays, expected, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **({"features": ROWS, "labels": LABELS} | arrays))
    with pytest.raises(UserError) as error:
        read(path)
    assert_contains(str(error.value), expected, path)


def test_folder_of_arrays_is_memory_mapped_and_the_same(tmp_path):
    parts = {"features": ROWS, "labels": LABELS, "test_features": ROWS[:3] + 1}
    parts["test_labels"] = LABELS[:3]
    np.savez(tmp_path / "mine.npz", **parts)
    for name, array in parts.items():
        np.save(tmp_path / f"{name}.npy", array)
    loaded, mapped = read(tmp_path / "mine.npz"), read(tmp_path)
    for one, other in zip(loaded[:2], mapped[:2], strict=True):
        assert torch.equal(one.features, other.features) and (one.labels == other.labels).all()
    assert loaded.spec_fields == mapped.spec_fields and mapped.spec_fields["channels"] == 6
    path = str(tmp_path / "features.npy")
    with open("/proc/self/maps") as maps:
        assert any(path in line for line in maps)
    mapped.train.features[0] = 9  # does not change the file
    np.testing.assert_array_equal(np.load(path), ROWS)


def test_batches_of_feature_vectors():
    store = FeatureStore(torch.from_numpy(ROWS))
    subset = store.subset(np.arange(2, 12)).subset(np.array([0, 5, 9]))
    assert len(subset) == 3 and subset.subset_indices.tolist() == [2, 7, 11]
    indices = np.array([2, 0])
    np.testing.assert_array_equal(subset.plain_batch(indices), ROWS[[11, 2]])
    weak = subset.weak_batch(indices, np.random.default_rng(0))
    np.testing.assert_array_equal(weak, ROWS[[11, 2]])
    np.testing.assert_array_equal(store.plain_batch(slice(1, 3)), ROWS[1:3])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The pixels of scikit-learn's digits as features."""
    parts = DATASETS["digits"].load("")
    rows = [part.pixels.flatten(1).numpy() / np.float32(255) for part in parts]
    path = tmp_path_factory.mktemp("features") / "digits.npz"
    np.savez(
        path, features=rows[0], labels=parts[0].labels,
        test_features=rows[1], test_labels=parts[1].labels,
    )  # fmt: skip
    return path


@pytest.fixture
def start(digits, tmp_path, capsys):
    def call(words):
        options = ["--data-root", digits, "--out", tmp_path, "--al-budget", 10, "--device", "cpu"]
        return run(capsys, *words.split(), *options)

    return call


def results(tmp_path, pattern):
    (path,) = tmp_path.glob(f"features/budget10/{pattern}/*/split0/results.csv")
    return path.read_text().splitlines()


@pytest.mark.parametrize("arch, searches", [("linear", 1), ("mlp", 7)])
def test_fixed_features_need_one_graph(arch, searches, start, tmp_path, monkeypatch):
    """One for all epochs and cycles; it gives the same results as a new graph each time.

    Features that change need one per epoch, and one for the estimate of the second cycle, whose
    queries the first network has judged."""
    calls = {"searches": 0, "systems": 0}
    search, init = affinity_graph.search_neighbors, diffusion.DiffusionSolver.__init__

    def count_calls(name, function):
        def call(*words):
            calls[name] += 1
            return function(*words)

        return call

    monkeypatch.setattr(affinity_graph, "search_neighbors", count_calls("searches", search))
    monkeypatch.setattr(diffusion.DiffusionSolver, "__init__", count_calls("systems", init))
    words = f"--dataset features --arch {arch} --add-lp --epochs 3 --al-nb-cycles 2"
    assert start(words)[0] == 0
    assert calls == {"searches": searches, "systems": searches}
    rows = results(tmp_path, f"{arch}/random_with_lp")
    assert float(rows[1].split(",")[4]) > 30
    if arch == "linear":
        always_make = lambda features, *key, make: make()  # noqa: E731
        monkeypatch.setattr(affinity_graph, "_get_or_make", always_make)
        assert start(f"{words} --resume False")[0] == 0 and calls["searches"] == searches + 8
        assert results(tmp_path, f"{arch}/random_with_lp") == rows


@pytest.mark.parametrize(
    "words",
    [
        "--al-method typiclust --initial typiclust",
        "--al-method lp_coverage --initial lp_coverage --arch mlp",
        "--al-method jlp --add-ceal --ceal-th 1 --use-val-set",
        "--al-method bald --head-dropout 0.5 --ema 0.5",
    ],
)
def test_components_without_images_work(words, start):
    """pretrained_features need no pre-training: they are the features themselves."""
    status, out = start(f"--dataset features --epochs 2 --al-nb-cycles 2 {words}")
    assert status == 0, out


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--add-fixmatch", ("--add-fixmatch", "--dataset features")),
        ("--add-unsupervised-pretraining", ("--add-unsupervised-pretraining", "needs images")),
        ("--add-lp --lp-views pixels", ("--lp-views pixels", "--dataset features")),
        (
            "--add-lp --lp-views features,pretrained_features --lp-view-weights agreement",
            ("--lp-view-weights agreement", "images"),
        ),
        ("--arch small_cnn", ("--arch small_cnn", "--dataset features", "linear, m")),
        ("--dataset digits --arch mlp", ("--arch mlp", "--dataset digits", "features")),
        ("--al-method bald", ("--al-method bald", "--arch linear", "--head-dropout")),
        ("--flip True", ("--flip", "--dataset folder or --dataset arrays")),
    ],
)
def test_components_that_need_images_are_refused(words, expected, start):
    status, line = start(f"--dataset features {words}")
    assert status == 2 and line.count("\n") == 1
    assert all(part in line for part in expected), line
