"""A method: the images whose two most probable classes are closest, at a stride in the ranking."""

from dataclasses import dataclass

import numpy as np
import torch

from al_methods.spec import Method
from utils.options.converters import positive_integer
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class StrideOptions(OptionGroup):
    section = "active learning"
    plugin_stride: int = option(
        1, "Every how many images of the ranking are picked first.", type=positive_integer
    )


def pick(
    *,
    probs: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
    stride: StrideOptions,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    probs: (N, C); labels: (N,) int64, -1 where unknown."""
    best = probs.topk(2, dim=1).values
    margins = (best[:, 0] - best[:, 1]).cpu().numpy()
    ranked = np.flatnonzero(labels < 0)
    ranked = ranked[np.argsort(margins[ranked], kind="stable")]
    step = stride.plugin_stride
    order = np.concatenate([ranked[start::step] for start in range(step)])
    return order[:budget]


METHOD = Method(pick, needs=("probs",))
