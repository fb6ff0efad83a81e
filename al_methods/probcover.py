"""ProbCover: cover the features with balls around the labeled images.

Source: Yehuda, Dekel, Hacohen & Weinshall, "Active learning through a covering lens", NeurIPS 2022,
algorithm 1: repeatedly pick the image whose ball of radius δ contains the most images that are in
no labeled image's ball.  Distances are between features of unit length, balls are open.  Once all
images are covered, images are picked at random.

δ is the largest radius at which the balls are pure (section 4.1): with k-means clusters, one per
class, in place of labels, at least the share α = 0.95 of the balls contain no image of another
cluster.  A ball is pure up to the distance of its nearest image of another cluster, so δ is the
(1 − α)-quantile of these distances, and no grid has to be searched.  One-hot, binary and count
features have many pairs at exactly this distance.  Distances that equal δ up to rounding are
outside, or rounding would decide whether the balls are pure.

Squared distances are −2 times a single matrix product, of (x, −|x|²/2, 1) and (y, 1, −|y|²/2), so
comparing them with the radius needs no further pass.  Where clusters are known, two kinds of pairs
have to be compared: pairs within one cluster, and pairs of images that both have another cluster
within the radius.  All other pairs are farther apart.

    between (N,)  distance of each image to the nearest image of another cluster
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from al_methods.spec import Method
from utils.arrays import as_numpy
from utils.kmeans import assign_clusters
from utils.options.converters import positive_float
from utils.options.option import OptionGroup, option
from utils.ranking import tie_order, top_candidates

log = logging.getLogger("al.probcover")

PURITY = 0.95  # α in the paper
KMEANS_SEED = 0  # fixed, so that δ is the same in every cycle
# Of squared distances between vectors of unit length; rounding was 3e-6 with 2,000 dimensions.
ROUNDING_TOLERANCE = 1e-5
MAX_TILE_PRODUCTS = 2**20  # products per tile, 4 MiB: they stay in the cache until compared


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
    rng: np.random.Generator | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    pretrained_features: (N, d); labels: (N,) int64, -1 where unknown, possibly everywhere;
    num_classes: by default the number of labeled classes, but at least two."""
    x = F.normalize(pretrained_features)
    radius, clustering = probcover.coverage_radius, {}
    if radius is None:
        num_clusters = num_classes or max(2, int(labels.max()) + 1)
        clusters = assign_clusters(as_numpy(x, np.float32), min(num_clusters, len(x)), KMEANS_SEED)
        assigned = torch.as_tensor(clusters, device=x.device)
        between = distance_to_other_clusters(x, assigned)
        radius, clustering = (
            largest_pure_radius(between),
            {"assigned": assigned, "between": between},
        )
    places = tie_order(rng, len(x))
    picks, covered = greedy_ball_cover(Balls(x, radius, **clustering), labels, budget, places)
    share = covered.double().mean()
    log.info("probcover: balls of radius %.4g cover %.4f of the images", radius, share)
    return np.array(picks, dtype=np.int64)


def largest_pure_radius(between: torch.Tensor) -> float:
    """The largest δ at which the share PURITY of the open balls is pure; inf for a single cluster.

    between: (N,), distance of each image to the nearest image of another cluster."""
    impure = int((1 - PURITY) * len(between) + 1e-9)  # number of balls that may be impure
    return float(between.sort().values[impure])


def distance_to_other_clusters(x: torch.Tensor, assigned: torch.Tensor) -> torch.Tensor:
    """Distance of each image to the nearest image of another cluster, inf for a single cluster.

    x: (N, d); assigned: (N,) int64, the clusters -> (N,)."""
    order = assigned.argsort(stable=True)
    left, right = _distance_factors(x[order])
    nearest = torch.full_like(left[:, 0], -torch.inf)  # the largest product so far
    start, sizes = 0, assigned.bincount()
    # Each cluster is compared with all later ones; one product serves the images of both.
    for end in sizes.cumsum(dim=0).tolist():
        rows = max(MAX_TILE_PRODUCTS // max(len(x) - end, 1), 1)
        for tile in torch.arange(start, end, device=x.device).split(rows) if end < len(x) else ():
            own = slice(int(tile[0]), int(tile[-1]) + 1)
            products = left[own] @ right[end:].T
            torch.maximum(nearest[own], products.amax(dim=1), out=nearest[own])
            torch.maximum(nearest[end:], products.amax(dim=0), out=nearest[end:])
        start = end
    distances = torch.empty_like(nearest)
    distances[order] = nearest.mul_(-2).clamp_(min=0).sqrt_()
    return distances


def _distance_factors(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, d) -> two (N, d + 2) whose products are −‖x_i − x_j‖² / 2."""
    halves, ones = x.square().sum(dim=1, keepdim=True) / -2, x.new_ones(len(x), 1)
    return torch.cat([x, halves, ones], dim=1), torch.cat([x, ones, halves], dim=1)


class Balls:
    """Open balls of one radius, one around each image.  A distance that equals the radius up to
    rounding is outside.

    x: (N, d); assigned, between: (N,), the clusters and the distances to other clusters; give both
    or neither."""

    def __init__(
        self,
        x: torch.Tensor,
        radius: float,
        assigned: torch.Tensor | None = None,
        between: torch.Tensor | None = None,
    ):
        square = radius**2
        self.num_balls = len(x)
        self.product_threshold = -max(square - ROUNDING_TOLERANCE, square / 2) / 2
        everything = torch.arange(len(x), device=x.device)
        parts: list[tuple[torch.Tensor, torch.Tensor | None]] = [(everything, None)]
        if assigned is not None and between is not None:
            impure = everything[between < radius * (1 + 1e-5)]  # and a few more, for rounding
            sizes = assigned.bincount().tolist()
            groups = assigned.argsort(stable=True).split(sizes)
            parts = [*((own, None) for own in groups), (impure, assigned[impure])]
        self.blocks = [
            (own, clusters, *_distance_factors(x[own])) for own, clusters in parts if len(own)
        ]
        self.device = x.device

    def count_members(self, images: torch.Tensor) -> torch.Tensor:
        """How many of the given images each ball contains: (N,) bool -> (N,) int64."""
        counts = torch.zeros(self.num_balls, dtype=torch.int64, device=self.device)
        for own, clusters, left, right in self.blocks:
            members = counts.new_zeros(len(own))
            chosen = images[own].nonzero().flatten()
            width = max(MAX_TILE_PRODUCTS // len(own), 1)
            for columns in chosen.split(width) if len(chosen) else ():
                products = right[columns] @ left.T  # (c, M)
                if clusters is None:  # an image is in its own ball, whatever the rounding
                    products[torch.arange(len(columns), device=self.device), columns] = torch.inf
                else:  # pairs of one cluster are counted in the block of that cluster
                    products[clusters[columns, None] == clusters] = -torch.inf
                members += products.gt_(self.product_threshold).sum(dim=0).long()
            counts[own] += members
        return counts


def greedy_ball_cover(
    balls: Balls, labels: np.ndarray, budget: int, places: np.ndarray
) -> tuple[list[int], torch.Tensor]:
    """Pick, one after another, the unlabeled image whose ball contains the most images that are in
    no ball of a labeled or picked image.

    labels: (N,) int64, -1 where unknown; places: (N,), the order among equal gains, and once all
    images are covered -> picks, and whether each image is covered, (N,) bool."""
    free = torch.as_tensor(labels < 0, device=balls.device)
    covered = balls.count_members(~free) > 0
    gains = balls.count_members(~covered)
    picks: list[int] = []
    center = torch.zeros_like(free)
    while len(picks) < budget and not covered.all():
        chosen = int(top_candidates(as_numpy(gains), 1, np.flatnonzero(as_numpy(free)), places)[0])
        center[chosen] = True
        new = (balls.count_members(center) > 0) & ~covered
        center[chosen] = False
        gains -= balls.count_members(new)
        covered |= new
        free[chosen] = False
        picks.append(chosen)
    left = np.flatnonzero(as_numpy(free))
    rest = top_candidates(np.zeros(len(labels)), budget - len(picks), left, places)
    return picks + rest.tolist(), covered


METHOD = Method(pick, needs=("pretrained_features",), needs_no_labels=True)
