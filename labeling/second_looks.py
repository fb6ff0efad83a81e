"""Second looks: labels that may be wrong are shown again together with the next queries.

The labels that the others contradict most (semisup.wrong_labels) come first.  Each is shown once,
so that an answer that was confirmed is not asked for again.  A second answer counts from the next
cycle on; the cycles before keep the results that they had with the first one.
"""

from dataclasses import dataclass

import numpy as np
import torch

from data.state import SecondLooks, State
from semisup.wrong_labels import ALPHA, compare_with_others
from utils.arrays import as_numpy
from utils.diffusion import Graph, prepare_diffusion
from utils.graph import affinity
from utils.options.converters import non_negative_integer
from utils.options.option import OptionGroup, option

# The features of pre-training do not know the labels, which the trained network has learned.
NEEDS = ("features",)
SUBSTITUTES = {"features": "pretrained_features"}
EXAMPLES_PER_CLASS = 3  # labeled images to compare with, of each of two classes


@dataclass(frozen=True)
class SecondLookOptions(OptionGroup):
    """How many labels are checked by a second look."""

    section = "active learning"
    second_looks: int = option(
        0,
        "Number of labels per cycle that are shown again with the next queries, because the other "
        "labels contradict them. Each label is shown again at most once.",
        type=non_negative_integer,
        metavar="N",
        after_first_cycle=True,
    )


def choose_second_looks(
    state: State,
    count: int,
    *,
    num_classes: int,
    can_be_amended: np.ndarray,
    features: torch.Tensor,
) -> SecondLooks:
    """The labeled images to show again, at most `count`; only those whose label another image
    contradicts.

    can_be_amended: (N,) bool, whose labels the oracle can give once more.
    features: (N, d)."""
    labels, W = state.pool.labels, affinity(features, k="auto")
    found = compare_with_others(W, features, labels, num_classes)
    may_be_shown = can_be_amended[found.images] & ~np.isin(found.images, state.second_look_images)
    candidates = np.flatnonzero(may_be_shown & (found.suspicion > -np.inf))
    order = np.argsort(-found.suspicion[candidates], kind="stable")
    chosen = candidates[order[:count]]
    images, suggested = found.images[chosen], found.suggested[chosen]
    return SecondLooks(images, suggested, choose_examples(W, labels, images, suggested))


def choose_examples(
    W: Graph, labels: np.ndarray, images: np.ndarray, suggested: np.ndarray
) -> np.ndarray:
    """The labeled images that the diffusion connects most with each of `images` (k,): first those
    of its own class, then those of the suggested class (k,).

    -> (k, 2 EXAMPLES_PER_CLASS) int64, -1 for none."""
    sides = np.zeros((len(labels), len(images)), dtype=np.float32)
    sides[images, np.arange(len(images))] = 1
    columns = as_numpy(prepare_diffusion(W, ALPHA).solve(sides)).T if len(images) else sides.T
    examples = np.full((len(images), 2, EXAMPLES_PER_CLASS), -1, dtype=np.int64)
    for row, image in enumerate(images):
        for half, label in enumerate((labels[image], suggested[row])):
            members = np.flatnonzero(labels == label)
            members = members[members != image]
            order = np.argsort(-columns[row, members], kind="stable")[:EXAMPLES_PER_CLASS]
            examples[row, half, : len(order)] = members[order]
    return examples.reshape(len(images), -1)


def describe_second_looks(shown: int, changed: int) -> str:
    """The line of the log about second answers."""
    labels = "1 label was" if shown == 1 else f"{shown} labels were"
    return f"{labels} shown again: {changed} changed, {shown - changed} kept"
