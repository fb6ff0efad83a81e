"""A method: the images whose two likeliest classes are closest, a step apart in rank."""

import numpy as np
import torch

from al_methods.spec import Method
from utils.options.converters import positive_integer
from utils.options.option import Option


def pick(
    *, probs: torch.Tensor, labels: np.ndarray, budget: int, rng, stride: int = 1
) -> np.ndarray:
    """probs: (N, C); stride: every how many images of the ranking -> (budget,) int64."""
    best = probs.topk(2, dim=1).values
    margins = (best[:, 0] - best[:, 1]).cpu().numpy()
    ranked = np.flatnonzero(labels < 0)
    ranked = ranked[np.argsort(margins[ranked], kind="stable")]
    order = np.concatenate([ranked[start::stride] for start in range(stride)])
    return order[:budget]


ROW = Method(pick, needs=("probs",))
STRIDE = Option("guest_stride", 1, "step", kind=positive_integer, keyword="stride")
WITH_OPTION = Method(pick, needs=("probs",), options=(STRIDE,))
