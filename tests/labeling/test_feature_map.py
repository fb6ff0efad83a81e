"""The map of the features: which images are on it, and where."""

import sys
import types

import numpy as np
import pytest

from labeling import feature_map
from labeling.feature_map import (
    MAX_POINTS,
    PCA,
    TSNE,
    UMAP,
    choose_points,
    make_feature_map,
    project_by_pca,
    project_to_plane,
)
from tests.commands.test_main_al import rows


def test_queried_images_are_always_on_it():
    rng = np.random.default_rng(0)
    queried = np.array([7, 4999, 3, 7])
    images = choose_points(5000, queried, rng)
    assert len(images) == MAX_POINTS and (np.diff(images) > 0).all()
    assert np.isin(queried, images).all()
    assert choose_points(20, queried[:1], rng).tolist() == list(range(20))
    many = np.arange(MAX_POINTS + 5)
    assert choose_points(5000, many, rng).tolist() == many.tolist()


def test_principal_components():
    """The plane of largest variance: against scikit-learn, up to the sign."""
    from sklearn.decomposition import PCA as Reference

    rng = np.random.default_rng(0)
    for shape in ((50, 8), (20, 300)):
        features = rng.normal(size=shape) * np.linspace(3, 1, shape[1]) + 5
        places, expected = project_by_pca(features), Reference(2).fit_transform(features)
        np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-8)
    np.testing.assert_array_equal(project_by_pca(features), project_by_pca(features))
    one_column = project_by_pca(np.arange(4.0)[:, None])
    np.testing.assert_allclose(one_column, [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]])


def test_places_are_within_the_unit_square(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # not installed
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    places, method = project_to_plane(np.random.default_rng(0).normal(size=(30, 5)), 0)
    assert method == PCA and places.min() == 0 and places.max(axis=0).tolist() == [1, 1]
    places, _ = project_to_plane(np.ones((30, 5)), 0)
    assert (places == 0).all()


@pytest.mark.parametrize("module, name", [("umap", UMAP), ("openTSNE", TSNE)])
def test_an_installed_library_is_used(module, name):
    """The groups of the features stay together, and the same seed gives the same map."""
    pytest.importorskip(module)
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(3, 10))
    features = np.repeat(centres, 20, axis=0) + rng.normal(size=(60, 10))
    hidden = {"umap"} - {module}
    with pytest.MonkeyPatch.context() as patch:
        for other in hidden:
            patch.setitem(sys.modules, other, None)
        places, method = project_to_plane(features, 3)
        assert method == name
        np.testing.assert_array_equal(places, project_to_plane(features, 3)[0])
    middles = places.reshape(3, 20, 2).mean(axis=1)
    nearest = np.square(places[:, None] - middles).sum(axis=2).argmin(axis=1)
    assert (nearest == np.repeat(np.arange(3), 20)).all()


def test_the_better_library_is_chosen(monkeypatch):
    """By their names alone, where they are not installed."""
    umap = types.ModuleType("umap")
    umap.UMAP = lambda random_state, n_jobs: types.SimpleNamespace(
        fit_transform=lambda rows: rows[:, :2]
    )
    monkeypatch.setitem(sys.modules, "umap", umap)
    features = np.random.default_rng(0).normal(size=(feature_map.MIN_POINTS, 4))
    assert project_to_plane(features, 0)[1] == UMAP
    assert project_to_plane(features[1:], 0)[1] == PCA  # too few for neighbours


def test_what_a_point_says():
    labels = np.array([-1, 2, -2, -1, -1])
    found = make_feature_map(
        np.eye(4),
        np.array([0, 1, 2, 4]),
        labels=labels,
        predicted=np.array([1, 1, 0, 2]),
        queried=np.array([4, 0]),
        seed=0,
    )
    assert found.labels.tolist() == [-1, 2, -2, -1] and found.queries.tolist() == [1, -1, -1, 0]
    assert found.caption.startswith("4 of 5 images, by the PCA")
    assert "umap-learn" in found.caption


def test_a_run_has_a_map_as_soon_as_there_are_features(tmp_path, run):
    """On the page of the second cycle here; in the first one no network has been trained."""
    folder = tmp_path / "run"
    run()
    assert '"map": null' in (folder / "queries.html").read_text()
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    (folder / "labels.csv").write_text("".join(f"{i},{n % 10}\n" for n, i in enumerate(queried)))
    run()
    page = (folder / "queries.html").read_text()
    assert '"map": {"caption": "1000 of 1437 images, by the ' in page
