"""Poisson MBO: Poisson learning, then diffusion and thresholding in turn with given class sizes.

Source: Calder, Cook, Thorpe & Slepčev, "Poisson learning: graph based semi-supervised learning at
very low label rates", ICML 2020, algorithm 2 (after Merriman, Bence & Osher, 1992): 20 times, 40
steps u ← u − dt (L u − μ b) with μ = 1 and dt = 1 / max d_i, then one-hot rows, so that the classes
have the sizes of the prior.

    u (N, C)  potentials      b (N, C)  sources, see semisup.propagation_solvers.poisson
"""

import numpy as np
import torch

from semisup.propagation_solvers.poisson import (
    class_constants,
    class_distributions,
    poisson_sources,
    solve_poisson,
)
from utils.arrays import as_numpy
from utils.diffusion import Graph, prepare_diffusion
from utils.graph import degrees_of
from utils.sparse_products import sparse_product

NUM_ROUNDS = 20
NUM_STEPS = 40


def solve(
    W: Graph, labels: np.ndarray, num_classes: int, *, alpha: float, prior: np.ndarray | None
) -> np.ndarray:
    """Z of the package's docstring; α is not used.  Without a prior, that of the labels."""
    if prior is None:
        members = np.bincount(labels[labels >= 0], minlength=num_classes)
        prior = members / max(members.sum(), 1)
    potentials, reached = solve_poisson(W, labels, num_classes)
    system = prepare_diffusion(W, 1 - np.finfo(float).eps)
    component = as_numpy(system.component_of_image)
    sources, _ = poisson_sources(labels, num_classes, component)
    known = labels[labels >= 0]
    sources *= len(known) / max(len(np.unique(known)), 1)  # the paper's: one per label
    degrees = as_numpy(degrees_of(W), np.float64)
    roots = np.sqrt(degrees)
    matrix, device = system.W, system.W.device
    order = np.arange(len(labels)) if system.row_order is None else as_numpy(system.row_order)

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array[order], dtype=torch.float32, device=device)

    step = on_device(degrees[:, None]) / float(degrees.max() or 1)
    per_root = on_device(np.divide(1, roots, out=np.zeros_like(roots), where=roots > 0)[:, None])
    root, source = on_device(roots[:, None]), on_device(sources / (degrees.max() or 1))
    classes = np.flatnonzero(prior > 0)
    u, constants = potentials, np.zeros(num_classes)
    for _ in range(NUM_ROUNDS):
        constants[classes] = class_constants(u[reached][:, classes], prior[classes])
        assigned = (u + np.where(prior > 0, constants, -np.inf)).argmax(axis=1)
        one_hot = np.where(reached[:, None], np.eye(num_classes)[assigned], 0)
        x = on_device(one_hot)
        for _ in range(NUM_STEPS):  # D⁻¹ A u = D^-1/2 W D^1/2 u
            x = x + step * (per_root * sparse_product(matrix, root * x) - x) + source
        u = np.empty_like(one_hot)
        u[order] = as_numpy(x, np.float64)
        u[np.isneginf(potentials)] = -np.inf
    constants[classes] = class_constants(u[reached][:, classes], prior[classes])
    return class_distributions(u + constants, labels, reached)
