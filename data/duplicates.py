"""Images that are identical or nearly so: one of a group is labeled, and the others inherit its
label.

    groups      (N,) int64, for each training image the position of the first image of its group;
                an image without duplicates is a group of its own
    identical   the same pixels, or the same row of features, byte by byte
    near        within the distance at which data.overview counts near-duplicates, measured from the
                first image of the group, so that no chain of small steps joins different images

A group never has images of the test or the validation part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from data.feature_vectors import Features
from data.images import Images
from data.memmap import MemmapImages
from utils.console import pluralize
from utils.options.converters import one_of
from utils.options.option import OptionGroup, OptionValues, option
from utils.torch_faiss import faiss

if TYPE_CHECKING:
    from data.budget import DataSize

ASK_ONE, ASK_ONE_NEAR, ASK_EACH = "ask-one", "ask-one-near", "ask-each"
# Above this share of repeated rows, features are taken for a table in which different things have
# the same values.
MAX_REPEATED_ROWS = 0.1
NEAR_LEVELS, NEAR_SHARE = 2.0, 0.1  # data.overview
MAX_SIDE_COMPARED = 16  # pixels; larger images are averaged before they are compared
CHUNK_IMAGES = 4096
CHUNK_QUERIES = 1024


def _fitting_duplicates(options: OptionValues, data: DataSize) -> str:
    """--duplicates, or ask-each for a table."""
    is_table = data.is_table and data.distinct < (1 - MAX_REPEATED_ROWS) * data.images
    return ASK_EACH if is_table else str(options.duplicates)


@dataclass(frozen=True)
class DuplicateOptions(OptionGroup):
    """Whether identical images are labeled once."""

    section = "active learning"
    duplicates: str = option(
        ASK_ONE,
        "Identical training images, or rows of features. ask-one: one of them is queried, and the "
        "others inherit its label. ask-one-near: the same for nearly identical ones. ask-each: "
        "each is queried by itself.",
        type=one_of((ASK_ONE, ASK_ONE_NEAR, ASK_EACH)),
        default_for_data=_fitting_duplicates,
    )


def digest_rows(part: Images | Features) -> list[bytes]:
    """A digest of each image, or of each row of features; equal ones have equal digests."""
    values = part.features if isinstance(part, Features) else part.pixels
    return list(digest_images(values))


def digest_images(pixels: torch.Tensor | MemmapImages) -> Iterator[bytes]:
    """A digest of each of N images or rows, which must have one shape and type."""
    for chunk in pixels.split(CHUNK_IMAGES):
        for image in np.ascontiguousarray(chunk.numpy()):
            yield hashlib.blake2b(image.data, digest_size=16).digest()


def find_groups(part: Images | Features, mode: str, digests: Sequence[bytes]) -> np.ndarray | None:
    """The groups (N,) of duplicates in a training part; None where every image is distinct, or is
    queried by itself.

    mode: a value of --duplicates; digests: from `digest_rows`."""
    if mode == ASK_EACH:
        return None
    first: dict[bytes, int] = {}
    groups = np.array([first.setdefault(one, n) for n, one in enumerate(digests)], dtype=np.int64)
    if mode == ASK_ONE_NEAR:
        distinct = np.unique(groups)
        groups = distinct[_near_groups(_comparable_rows(part, distinct), part)][
            np.searchsorted(distinct, groups)
        ]
    return None if len(np.unique(groups)) == len(groups) else groups


def _near_groups(rows: np.ndarray, part: Images | Features) -> np.ndarray:
    """For each of the distinct rows (M, d) the position of the first row of its group."""
    if isinstance(part, Features):
        threshold = NEAR_SHARE**2 * typical_distance(rows)
    else:
        threshold = near_threshold(rows)
    groups = np.full(len(rows), -1)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    for start in range(0, len(rows), CHUNK_QUERIES):
        chunk = rows[start : start + CHUNK_QUERIES]
        limits, _, found = index.range_search(chunk, np.nextafter(np.float32(threshold), np.inf))
        for number in range(len(chunk)):
            image = start + number
            if groups[image] < 0:
                groups[image] = image
                near = found[limits[number] : limits[number + 1]]
                groups[near[groups[near] < 0]] = image
    return groups


def _comparable_rows(part: Images | Features, positions: np.ndarray) -> np.ndarray:
    """The features, or the reduced images, at these positions (n,): (n, d) float32."""
    if isinstance(part, Features):
        return np.ascontiguousarray(part.features[positions].numpy())
    return reduce_images(part.pixels, positions)


def reduce_images(pixels: torch.Tensor | MemmapImages, positions: np.ndarray) -> np.ndarray:
    """The images at these positions (n,), averaged to at most MAX_SIDE_COMPARED pixels per side:
    (n, d) float32."""
    parts = []
    for start in range(0, len(positions), CHUNK_IMAGES):
        images = torch.as_tensor(pixels[positions[start : start + CHUNK_IMAGES]]).float()
        if images.shape[2] > MAX_SIDE_COMPARED:
            images = torch.nn.functional.adaptive_avg_pool2d(images, MAX_SIDE_COMPARED)
        parts.append(images.flatten(1).numpy())
    return np.ascontiguousarray(np.concatenate(parts))


def near_threshold(rows: np.ndarray) -> float:
    """The largest squared distance of near-duplicates among reduced images (n, d)."""
    return min(NEAR_LEVELS**2 * rows.shape[1], NEAR_SHARE**2 * typical_distance(rows))


def typical_distance(rows: np.ndarray) -> float:
    """The median squared distance of two random ones of n rows (n, d)."""
    others = np.random.default_rng(0).permutation(len(rows))
    return float(np.median(np.square(rows - rows[others]).sum(axis=1)))


def describe_groups(groups: np.ndarray, labels: np.ndarray) -> list[str]:
    """Lines for the log on the groups (N,) of the training images.

    labels: (N,) of the data, -1 where unknown."""
    _, sizes = np.unique(groups, return_counts=True)
    more = int((sizes > 1).sum())
    lines = [
        f"data: {int(sizes[sizes > 1].sum())} training images are in {pluralize(more, 'group')} of "
        "duplicates, of which one image is labeled for all (--duplicates)"
    ]
    known = labels >= 0
    pairs = np.unique(np.stack([groups[known], labels[known]]), axis=1)
    mixed = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    if mixed:
        lines.append(
            f"data: the images of {pluralize(mixed, 'group')} have different classes in the data; "
            "all get the class of the one that is labeled"
        )
    return lines


# ---- The groups of a pool.


def subset_groups(groups: np.ndarray | None, positions: np.ndarray) -> np.ndarray | None:
    """The groups of the images at these positions (n,), ascending; None where all are distinct."""
    if groups is None:
        return None
    _, first, inverse = np.unique(groups[positions], return_index=True, return_inverse=True)
    return None if len(first) == len(positions) else first[inverse.reshape(-1)]


def find_representatives(
    groups: np.ndarray, labels: np.ndarray, without: np.ndarray | None = None
) -> np.ndarray:
    """The images that stand for their groups (N,): the labeled ones, and the first image of every
    group without a label -> (M,) int64, ascending.

    labels: (N,) int64, -1 where unknown; without: images (k,) whose groups are left out unless they
    have a label."""
    labeled = np.flatnonzero(labels >= 0)
    is_open = groups == np.arange(len(groups))
    is_open[groups[labeled]] = False
    if without is not None:
        is_open[groups[without]] = False
    return np.union1d(np.flatnonzero(is_open), labeled)


class Inherited(NamedTuple):
    """The labels that duplicates inherit: images, their labels, and from which image, (n,) each."""

    images: np.ndarray
    labels: np.ndarray
    sources: np.ndarray


def inherit_labels(groups: np.ndarray, labels: np.ndarray, labeled_order: np.ndarray) -> Inherited:
    """The labels of the images without one whose group has one: that of most labeled images of the
    group, of several such labels the one that was there first.

    groups, labels: (N,) int64, -1 where unknown; labeled_order: (L,), the labeled images."""
    votes: dict[int, dict[int, list[int]]] = {}  # group -> label -> images, in their order
    for image in labeled_order.tolist():
        by_label = votes.setdefault(int(groups[image]), {})
        by_label.setdefault(int(labels[image]), []).append(image)
    sources = np.full(len(groups), -1)
    for group, by_label in votes.items():
        sources[group] = max(by_label.values(), key=len)[0]
    sources = sources[groups]
    images = np.flatnonzero((labels < 0) & (sources >= 0))
    return Inherited(images, labels[sources[images]], sources[images])


def with_inherited_labels(groups: np.ndarray | None, pool: Any) -> np.ndarray:
    """The labels (N,) of a data.pool.Pool and those that duplicates inherit from them."""
    if groups is None:
        return pool.labels
    inherited = inherit_labels(groups, pool.labels, pool.labeled_order)
    labels = pool.labels.copy()
    labels[inherited.images] = inherited.labels
    return labels
