"""A map of the features: images as points in the plane, near to each other if their features are.

    UMAP       where umap-learn is installed: McInnes, Healy and Melville, arXiv 1802.03426
    t-SNE      otherwise, where openTSNE is installed: van der Maaten and Hinton, JMLR 2008
    PCA        otherwise: the two principal components

Only some images of a large pool are on it: all that were queried, and others drawn at random.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_POINTS = 1000
MIN_POINTS = 16  # for the methods that look at 15 neighbours
UMAP, TSNE, PCA = "UMAP", "t-SNE", "PCA"
# How a page draws the points: of the labeling page and of the report.
PLANE_STYLE, PLANE_SCRIPT = (Path(__file__).with_name(f"map_plane.{end}") for end in ("css", "js"))


class FeatureMap(NamedTuple):
    """M points.  images: (M,) int64, positions in the training set; places: (M, 2), from 0 to 1;
    labels, predicted: (M,) int64, classes, negative where unknown; queries: (M,) int64, the number
    of the query, -1 where it is none; method: UMAP, TSNE or PCA; size: of the training set."""

    images: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    queries: np.ndarray
    method: str
    size: int

    @property
    def caption(self) -> str:
        """What the map shows, in words."""
        count = (
            f"{len(self.images)} of {self.size} images"
            if len(self.images) < self.size
            else (f"All {self.size} images")
        )
        words = f"{count}, by the {self.method} of their features"
        if self.method == PCA:
            words += " (the two principal components; install umap-learn for clearer groups)"
        return f"{words}. Near points are similar images."


def choose_points(size: int, queried: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images on the map: the queried ones (n,), and others up to MAX_POINTS -> (M,) int64,
    ascending.

    size: number of images."""
    queried = np.unique(queried)
    others = np.setdiff1d(np.arange(size), queried)
    room = max(MAX_POINTS - len(queried), 0)
    drawn = rng.permutation(others)[:room]
    return np.sort(np.concatenate([queried, drawn])).astype(np.int64)


def project_to_plane(features: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Features (n, d) as places (n, 2) from 0 to 1, and the method."""
    rows = np.asarray(features, dtype=np.float32)
    has_neighbours = len(rows) >= MIN_POINTS
    method, project = _find_projection(seed) if has_neighbours else (PCA, project_by_pca)
    places = project(rows)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.where(high > low, high - low, 1), method


def _find_projection(seed: int) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """The best method that is installed, and a function from (n, d) to (n, 2)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap

        # A seed means one thread, of which it warns.
        return UMAP, umap.UMAP(random_state=seed, n_jobs=1).fit_transform
    except ImportError:
        pass
    try:
        import openTSNE

        return TSNE, lambda rows: np.asarray(openTSNE.TSNE(random_state=seed).fit(rows))
    except ImportError:
        return PCA, project_by_pca


def project_by_pca(rows: np.ndarray) -> np.ndarray:
    """The two principal components (n, 2) of rows (n, d); each has a positive largest weight, so
    that equal features have equal maps."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2].T
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    places = centred @ axes
    return places if places.shape[1] == 2 else np.pad(places, ((0, 0), (0, 1)))


def make_feature_map(
    features: np.ndarray,
    images: np.ndarray,
    *,
    labels: np.ndarray,
    predicted: np.ndarray | None,
    queried: np.ndarray,
    seed: int,
) -> FeatureMap:
    """features: (M, d) of the images (M,), from `choose_points`; labels: (N,) of all images;
    predicted: (M,) classes, None without a network; queried: (n,) images, in their order."""
    places, method = project_to_plane(features, seed)
    queries = np.full(len(labels), -1)
    queries[queried] = np.arange(len(queried))
    unknown = np.full(len(images), -1)
    return FeatureMap(
        images,
        places,
        labels[images],
        unknown if predicted is None else predicted,
        queries[images],
        method,
        len(labels),
    )
