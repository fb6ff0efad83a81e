"""Features of any encoder in place of images: how they are read, what they are refused, runs."""

import numpy as np
import pytest
import torch

from data import DATASETS
from data.feature_vectors import FeatureStore
from tests.data.test_custom_data import run
from utils import diffusion
from utils.errors import UserError
from utils.graph import affinity_graph

ROWS = np.arange(60, dtype=np.float32).reshape(12, 5) / 7
LABELS = np.arange(12) % 3


def read(root):
    return DATASETS["features"].load_and_check(str(root))


def with_one(place, value, kind=np.float32):
    rows = ROWS.astype(kind)
    rows[place] = value
    return rows


@pytest.mark.parametrize(
    "odd, expected",
    [
        ({"features": with_one((4, 1), np.nan)}, "row 4 of the features of {root} has a value tha"),
        ({"features": with_one((5, 1), -np.inf)}, "row 5 of the features of {root} has a value"),
        ({"features": with_one((6, 1), 1e300, np.float64)}, "row 6 of the features of {root} has"),
        (
            {"features": with_one((7, 0), -2e15)},
            "row 7 of the features of {root} has a value beyon",
        ),
        ({"features": ROWS[:, 0]}, "of shape (12,), not (N, d)"),
        ({"features": ROWS[:, :0]}, "of shape (12, 0), not (N, d)"),
        ({"features": ROWS.astype(str)}, "not numbers"),
        ({"features": np.array([{}] * 12)}, "holds pickled objects, and nothing is unpickled"),
        ({"labels": LABELS[:-2]}, "{root} holds 12 images and 10 labels"),
        ({"labels": LABELS - 2}, "label 0 of {root} is -2, not a whole number from 0 on, or -1"),
        ({"test_features": ROWS}, "holds no test_labels"),
        ({"test_features": ROWS[:, 1:], "test_labels": LABELS}, "of 5 numbers, to test on 4"),
    ],
)
def test_odd_features(odd, expected, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **({"features": ROWS, "labels": LABELS} | odd))
    with pytest.raises(UserError) as error:
        read(path)
    assert expected.format(root=path) in str(error.value)


def test_a_folder_of_arrays_is_mapped_and_the_same(tmp_path):
    parts = {"features": ROWS, "labels": LABELS, "test_features": ROWS[:3] + 1}
    parts["test_labels"] = LABELS[:3]
    np.savez(tmp_path / "mine.npz", **parts)
    for name, array in parts.items():
        np.save(tmp_path / f"{name}.npy", array)
    loaded, mapped = read(tmp_path / "mine.npz"), read(tmp_path)
    for one, other in zip(loaded[:2], mapped[:2], strict=True):
        assert torch.equal(one.features, other.features) and (one.labels == other.labels).all()
    assert loaded.spec_fields == mapped.spec_fields and mapped.spec_fields["channels"] == 5
    where = str(tmp_path / "features.npy")
    with open("/proc/self/maps") as maps:
        assert any(where in line for line in maps)
    mapped.train.features[0] = 9  # nothing reaches the file
    np.testing.assert_array_equal(np.load(where), ROWS)


def test_batches_of_vectors():
    batches = FeatureStore(torch.from_numpy(ROWS))
    some = batches.subset(np.arange(2, 12)).subset(np.array([0, 5, 9]))
    assert len(some) == 3 and some.subset_indices.tolist() == [2, 7, 11]
    for view in (
        some.plain_batch,
        lambda indices: some.weak_batch(indices, np.random.default_rng(0)),
    ):
        np.testing.assert_array_equal(view(np.array([2, 0])), ROWS[[11, 2]])
    np.testing.assert_array_equal(batches.plain_batch(slice(1, 3)), ROWS[1:3])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Pixels of scikit-learn's digits for features."""
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
        more = ["--data-root", digits, "--out", tmp_path, "--al-budget", 10, "--device", "cpu"]
        return run(capsys, *words.split(), *more)

    return call


def results(tmp_path, pattern):
    (path,) = tmp_path.glob(f"features/budget10/{pattern}/*/split0/results.csv")
    return path.read_text().splitlines()


@pytest.mark.parametrize("arch, searches", [("linear", 1), ("mlp", 6)])
def test_features_that_cannot_change_have_one_graph(arch, searches, start, tmp_path, monkeypatch):
    """In all epochs of all cycles; and it gives the numbers of graphs that are made anew."""
    made = {"searches": 0, "systems": 0}
    search, ready = affinity_graph.search_neighbors, diffusion.DiffusionSolver.__init__

    def counted(name, function):
        def call(*words):
            made[name] += 1
            return function(*words)

        return call

    monkeypatch.setattr(affinity_graph, "search_neighbors", counted("searches", search))
    monkeypatch.setattr(diffusion.DiffusionSolver, "__init__", counted("systems", ready))
    words = f"--dataset features --arch {arch} --add-lp --epochs 3 --al-nb-cycles 2"
    assert start(words)[0] == 0
    assert made == {"searches": searches, "systems": searches}
    rows = results(tmp_path, f"{arch}/random_with_lp")
    assert float(rows[1].split(",")[4]) > 30
    if arch == "linear":
        keep = lambda features, *key, make: make()  # noqa: E731
        monkeypatch.setattr(affinity_graph, "_get_or_make", keep)
        assert start(f"{words} --resume False")[0] == 0 and made["searches"] == searches + 6
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
def test_what_needs_no_image_works(words, start):
    """Without pre-training too: the features are given."""
    status, out = start(f"--dataset features --epochs 2 --al-nb-cycles 2 {words}")
    assert status == 0, out


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--add-fixmatch", "--add-fixmatch needs images to augment; --dataset features has featur"),
        ("--add-unsupervised-pretraining", "needs images; --dataset features has features, which"),
        ("--add-lp --lp-views pixels", "--lp-views pixels needs images; --dataset features has fe"),
        (
            "--add-lp --lp-views features,pretrained_features --lp-view-weights agreement",
            "--lp-view-weights agreement needs images",
        ),
        ("--arch small_cnn", "takes images, --dataset features has features: use one of linear, m"),
        (
            "--dataset digits --arch mlp",
            "takes features, --dataset digits has images: use one of ",
        ),
        ("--al-method bald", "which --arch linear does not have: give its head one with --head-dr"),
        ("--flip True", "--flip is read only with --dataset folder or --dataset arrays"),
    ],
)
def test_what_needs_images_is_refused(words, expected, start):
    status, line = start(f"--dataset features {words}")
    assert status == 2 and line.count("\n") == 1 and expected in line
