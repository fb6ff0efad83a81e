"""ProbCover: cover the features with balls around the labeled images.

Source: Yehuda, Dekel, Hacohen & Weinshall, "Active learning through a covering lens", NeurIPS 2022,
algorithm 1: pick the image whose ball of radius δ holds most images that no labeled image's ball
holds, and so on; between features of unit length.  When all are covered, the lowest indices.

δ is the largest whose balls are pure, section 4.1: with k-means clusters, as many as there are
classes, for labels, at least the share α = 0.95 of the images have no image of another cluster in
their ball.  A ball is pure up to the distance of its nearest image of another cluster, so that δ
is the (1 − α)-quantile of these distances and no grid is searched.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from al_methods import balls
from al_methods.spec import Method
from utils.arrays import as_numpy
from utils.kmeans import assign_clusters
from utils.options.converters import positive_float
from utils.options.option import OptionGroup, option

log = logging.getLogger("al.probcover")

PURITY = 0.95  # α in the paper
KMEANS_SEED = 0  # of k-means, so that δ is the same in every cycle


@dataclass(frozen=True)
class ProbCoverOptions(OptionGroup):
    """The radius of ProbCover's balls."""

    section = "active learning"
    coverage_radius: float | None = option(
        None,
        "Radius δ of ProbCover's balls, between features of unit length.",
        type=positive_float,
        default_text="the largest at which 95 % of the balls are pure",
    )


def pick(
    *,
    pretrained_features: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    probcover: ProbCoverOptions,
    rng=None,
    num_classes: int | None = None,
) -> np.ndarray:
    """pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, all of them perhaps;
    num_classes: those seen, and at least two, unless given -> (budget,) int64."""
    x = F.normalize(pretrained_features)
    radius, known = probcover.coverage_radius, {}
    if radius is None:
        classes = num_classes or max(2, int(labels.max()) + 1)
        assigned = assign_clusters(as_numpy(x, np.float32), min(classes, len(x)), KMEANS_SEED)
        assigned = torch.as_tensor(assigned, device=x.device)
        between = balls.distance_to_other_clusters(x, assigned)
        radius, known = largest_pure_radius(between), {"assigned": assigned, "between": between}
    picks, held = balls.greedy_ball_cover(balls.Balls(x, radius, **known), labels, budget)
    share = held.double().mean()
    log.info("probcover: balls of radius %.4g cover %.4f of the images", radius, share)
    return np.array(picks, dtype=np.int64)


def largest_pure_radius(between: torch.Tensor) -> float:
    """The largest δ at which PURITY of the open balls are pure; inf where there is one cluster.

    between: (N,), distance of an image to the nearest of another cluster."""
    impure = int((1 - PURITY) * len(between) + 1e-9)  # that many balls may be
    return float(between.sort().values[impure])


METHOD = Method(pick, needs=("pretrained_features",), needs_no_labels=True)
