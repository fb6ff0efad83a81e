"""What can be seen of features without a label: whether pre-training has spoiled them.

agreement  an image's K nearest neighbours in one augmented view of all images and in another: the
           part that is the same.  Features that have lost what is in an image give chance.
rank       the effective rank, exp of the entropy of the normalised singular values (Roy & Vetterli,
           EUSIPCO 2007; as a measure of features: Garrido et al., "RankMe", ICML 2023).  Features
           that have collapsed give one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from data.augment import VIEWS, ImageBatches
from utils.run.log import log
from utils.seeding import stream

IMAGES, K, BATCH = 2000, 10, 512  # looked at, neighbours, at a time


class Health(NamedTuple):
    agreement: float  # in [0, 1]
    rank: float  # in [1, d]


def watched(pretrain: Callable, model, images: ImageBatches, *, seed: int, **settings) -> list:
    """What `pretrain` (of a row of PRETRAINERS) gives; the features before and after are compared,
    in the log."""
    before = health(model, images, seed)
    rows = pretrain(model, images, seed=seed, **settings)
    tell(before, health(model, images, seed))
    return rows


@torch.inference_mode()
def health(model, images: ImageBatches, seed: int) -> Health:
    """Of a network's features, on at most IMAGES images spread over all."""
    model.eval()
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(np.int64)
    views = [_features(model, images, chosen, stream(seed, "health", i)) for i in range(2)]
    k = min(K, len(chosen) - 1)
    near = [_neighbours(view, k) for view in views]
    same = (near[0][:, :, None] == near[1][:, None]).any(dim=2).float().mean()
    lengths = torch.linalg.svdvals(views[0].double())
    shares = lengths / lengths.sum()
    return Health(float(same), float(torch.special.entr(shares).sum().exp()))


def _features(model, images, chosen, rng) -> torch.Tensor:
    """(n, d) of unit length, of weakly augmented images."""
    found = []
    for some in np.array_split(chosen, -(-len(chosen) // BATCH)):
        found.append(model(VIEWS["weak"](images, some, rng))[1])
    return torch.nn.functional.normalize(torch.cat(found))


def _neighbours(x: torch.Tensor, k: int) -> torch.Tensor:
    """Indices (n, k) of each row's nearest others."""
    return (x @ x.T).fill_diagonal_(-torch.inf).topk(k).indices


def tell(before: Health, after: Health) -> None:
    """Log both, and warn where pre-training has made either worse."""
    log.info(
        "features: neighbours of two views agree %.3f (%.3f before), effective rank %.1f (%.1f)",
        *(after.agreement, before.agreement, after.rank, before.rank),
    )
    worse = [
        f"{name} {new:.3g} instead of {old:.3g}"
        for name, old, new in zip(("agreement", "rank"), before, after, strict=True)
        if new < old
    ]
    if worse:
        log.warning(
            "pre-training has made the features worse than the untrained network's (%s): "
            "try other --pretraining-* options",
            ", ".join(worse),
        )
