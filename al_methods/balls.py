"""Open balls of one radius around images: how many images they hold, and a greedy cover by them.

Squared distances are −2 times one product, of (x, −|x|²/2, 1) and (y, 1, −|y|²/2): what compares
them makes no other pass.  Where clusters of images are known, only pairs within one need be looked
at, and pairs of images that have another cluster within the radius: all others are farther apart.

    between (N,)  distance of an image to the nearest of another cluster
"""

import numpy as np
import torch

MAX_TILE_PRODUCTS = (
    2**20
)  # products at a time, 4 MiB: they stay in the cache until they are compared


def _distance_factors(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, d) -> two (N, d + 2), whose products are −‖x_i − x_j‖² / 2."""
    halves, ones = x.square().sum(dim=1, keepdim=True) / -2, x.new_ones(len(x), 1)
    return torch.cat([x, halves, ones], dim=1), torch.cat([x, ones, halves], dim=1)


def distance_to_other_clusters(x: torch.Tensor, assigned: torch.Tensor) -> torch.Tensor:
    """Distances to the nearest image of another cluster, inf where there is one cluster.

    x: (N, d); assigned: (N,) int64 -> (N,).  A product serves the images of both clusters."""
    order = assigned.argsort(stable=True)
    left, right = _distance_factors(x[order])
    nearest = torch.full_like(left[:, 0], -torch.inf)  # the largest product
    start, sizes = 0, assigned.bincount()
    for end in sizes.cumsum(dim=0).tolist():
        rows = max(MAX_TILE_PRODUCTS // max(len(x) - end, 1), 1)
        for some in torch.arange(start, end, device=x.device).split(rows) if end < len(x) else ():
            own = slice(int(some[0]), int(some[-1]) + 1)
            products = left[own] @ right[end:].T
            torch.maximum(nearest[own], products.amax(dim=1), out=nearest[own])
            torch.maximum(nearest[end:], products.amax(dim=0), out=nearest[end:])
        start = end
    found = torch.empty_like(nearest)
    found[order] = nearest.mul_(-2).clamp_(min=0).sqrt_()
    return found


class Balls:
    """Balls of one radius around each of some images.

    x: (N, d); assigned, between: (N,), of known clusters, or neither."""

    def __init__(self, x, radius: float, assigned=None, between=None):
        self.num_balls, self.product_threshold = len(x), -(radius**2) / 2
        everything = torch.arange(len(x), device=x.device)
        if assigned is None:
            parts = [(everything, None)]
        else:
            impure = everything[between < radius * (1 + 1e-5)]  # and a few more, for rounding
            sizes = assigned.bincount().tolist()
            groups = assigned.argsort(stable=True).split(sizes)
            parts = [*((own, None) for own in groups), (impure, assigned[impure])]
        self.blocks = [
            (own, clusters, *_distance_factors(x[own])) for own, clusters in parts if len(own)
        ]
        self.device = x.device

    def count_members(self, images: torch.Tensor) -> torch.Tensor:
        """How many of some images (bool, (N,)) each ball holds: (N,) int64."""
        counts = torch.zeros(self.num_balls, dtype=torch.int64, device=self.device)
        for own, clusters, left, right in self.blocks:
            held = counts.new_zeros(len(own))
            some = images[own].nonzero().flatten()
            for columns in some.split(max(MAX_TILE_PRODUCTS // len(own), 1)) if len(some) else ():
                products = right[columns] @ left.T  # (c, M)
                if clusters is None:  # an image is in its own ball, whatever was rounded
                    products[torch.arange(len(columns), device=self.device), columns] = torch.inf
                else:  # pairs of one cluster were counted before
                    products[clusters[columns, None] == clusters] = -torch.inf
                held += products.gt_(self.product_threshold).sum(dim=0).long()
            counts[own] += held
        return counts


def greedy_ball_cover(
    balls: Balls, labels: np.ndarray, budget: int
) -> tuple[list[int], torch.Tensor]:
    """Greedy: the unlabeled image whose ball holds most images that no ball of a labeled or picked
    one holds, ties to the lower index; where all are held, the lowest indices.

    labels: (N,) int64, -1 where unknown -> picks, which images are held (N,) bool"""
    free = torch.as_tensor(labels < 0, device=balls.device)
    held = balls.count_members(~free) > 0
    gains, picks = balls.count_members(~held), []
    one = torch.zeros_like(free)
    while len(picks) < budget and not held.all():
        chosen = int(gains.masked_fill(~free, -1).argmax())
        one[chosen] = True
        new = (balls.count_members(one) > 0) & ~held
        one[chosen] = False
        gains -= balls.count_members(new)
        held |= new
        free[chosen] = False
        picks.append(chosen)
    rest = free.nonzero().flatten()[: budget - len(picks)]
    return picks + rest.tolist(), held
