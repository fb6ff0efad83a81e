"""Diffusion: (I − αW) Z = Y.

Source: Zhou et al., NIPS 2003; Iscen et al., CVPR 2019, section 4.

    Y (N, C)  1/n_c on the n_c labeled images of class c, else 0
"""

import numpy as np

from utils.arrays import as_numpy
from utils.diffusion import Graph, prepare_diffusion


def solve(
    W: Graph, labels: np.ndarray, num_classes: int, *, alpha: float, prior: np.ndarray | None
) -> np.ndarray:
    """Z of the package's docstring; the prior is not used."""
    labeled = np.flatnonzero(labels >= 0)
    members = np.bincount(labels[labeled], minlength=num_classes)  # n_c
    Y = np.zeros((len(labels), num_classes), dtype=np.float32)
    Y[labeled, labels[labeled]] = 1 / members[labels[labeled]]
    Z, _ = prepare_diffusion(W, alpha).solve_rows(Y)
    return np.maximum(as_numpy(Z), 0)
