"""Direct implementations of the formulas, as one would first write them, to compare ours with."""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from PIL import Image
from scipy.spatial import distance_matrix
from torch import nn
from torchvision import transforms

from models.layers.dropout import HalfDropout
from models.layers.winograd import WinogradConv2d


def coreset(features: np.ndarray, labels: np.ndarray, budget: int) -> list[int]:
    """scipy's distance_matrix in the greedy loop, one new centre at a time."""
    labeled = np.flatnonzero(labels >= 0)
    nearest = np.full(len(features), np.inf)
    for start in range(0, len(labeled), 100):
        block = distance_matrix(features, features[labeled[start : start + 100]])
        nearest = np.minimum(nearest, block.min(axis=1))
    picks: list[int] = []
    for _ in range(budget):
        picks.append(int(nearest.argmax()))
        column = distance_matrix(features, features[picks[-1:]])[:, 0]
        nearest = np.minimum(nearest, column)
    return picks


def affinity(
    similarities: np.ndarray, neighbors: np.ndarray, gamma: float = 3
) -> scipy.sparse.csr_matrix:
    """The affinity W with scipy's sparse matrices.

    similarities, neighbors: (N, k) of the nearest neighbours."""
    n, k = neighbors.shape
    rows = np.repeat(np.arange(n), k)
    values = np.maximum(similarities.ravel(), 0) ** gamma
    A = scipy.sparse.csr_matrix((values, (rows, neighbors.ravel())), shape=(n, n))
    W = A + A.T
    W = W - scipy.sparse.diags(W.diagonal())
    S = np.asarray(W.sum(axis=1)).ravel()
    S[S == 0] = 1
    D = scipy.sparse.diags(1 / np.sqrt(S))
    return D @ W @ D


def propagate(
    labels: np.ndarray,
    num_classes: int,
    similarities: np.ndarray,
    neighbors: np.ndarray,
    rtol: float,
    maxiter: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo-labels and weights (N,), with one call of scipy's cg per class."""
    W = affinity(similarities, neighbors)
    system = scipy.sparse.eye(len(labels)) - 0.99 * W
    Z = np.zeros((len(labels), num_classes))
    for c in range(num_classes):
        members = labels == c
        y = members / max(members.sum(), 1)
        Z[:, c], _ = scipy.sparse.linalg.cg(system, y, rtol=rtol, maxiter=maxiter)
    Z = np.maximum(Z, 0)
    Z = Z / np.maximum(Z.sum(axis=1, keepdims=True), 1e-300)
    entropies = -(Z * np.log(np.maximum(Z, 1e-300))).sum(axis=1)
    weights = 1 - entropies / np.log(num_classes)
    return Z.argmax(axis=1), weights / weights.max()


def jlp(
    W: scipy.sparse.csr_matrix,
    labels: np.ndarray,
    budget: int,
    rtol: float,
    maxiter: int | None = None,
) -> list[int]:
    """One solve per pick, each from scratch."""
    system = scipy.sparse.eye(len(labels)) - 0.99 * W
    y = (labels >= 0).astype(float)
    picks: list[int] = []
    for _ in range(budget):
        f, _ = scipy.sparse.linalg.cg(system, y, rtol=rtol, maxiter=maxiter)
        picks.append(int(np.where(y == 0, f, np.inf).argmin()))
        y[picks[-1]] = 1
    return picks


def diffuse(W: scipy.sparse.csr_matrix, Y: np.ndarray, rtol: float) -> np.ndarray:
    """Z (N, C), with one call of scipy's cg per column of Y (N, C)."""
    system = scipy.sparse.eye(len(Y)) - 0.99 * W
    return np.stack([scipy.sparse.linalg.cg(system, y, rtol=rtol)[0] for y in Y.T], axis=1)


def diffusion_kernel(W: scipy.sparse.csr_matrix) -> np.ndarray:
    """(I − 0.99 W)⁻¹ with ones in the diagonal, (N, N) float32: the normalised kernel."""
    inverse = np.linalg.inv(np.eye(W.shape[0], dtype=np.float32) - np.float32(0.99) * W.toarray())
    scale = 1 / np.sqrt(inverse.diagonal())
    return inverse * scale * scale[:, None]


def lp_coverage(W: scipy.sparse.csr_matrix, labeled: int, budget: int) -> list[int]:
    """Greedy picks from the whole kernel, every image evaluated before each.

    labeled: the only image with a label."""
    kernel = diffusion_kernel(W)
    cover, picks = kernel[labeled], []
    for _ in range(budget):
        gains = np.maximum(kernel - cover, 0).sum(axis=1)
        picks.append(int(gains.argmax()))
        cover = np.maximum(cover, kernel[picks[-1]])
    return picks


def input_pipeline(mean: list[float], std: list[float]) -> Callable[[Image.Image], torch.Tensor]:
    """torchvision's transforms of a PIL image, as in usual training scripts."""
    return transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def augment(
    pixels: np.ndarray, indices: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]
) -> torch.Tensor:
    """pixels: (N, H, W, 3) uint8, indices: (B,) -> (B, 3, H, W) float32."""
    return torch.stack([transform(Image.fromarray(pixels[i])) for i in indices])


def use_library_layers(model: nn.Module) -> nn.Module:
    """Replaces our convolutions and dropout by those of the library, and the layout by NCHW."""
    for module in model.modules():
        if isinstance(module, WinogradConv2d):
            module.forward = partial(nn.Conv2d.forward, module)
        for name, child in module.named_children():
            if isinstance(child, HalfDropout):
                setattr(module, name, nn.Dropout(0.5))
    model.memory_format = torch.contiguous_format
    return model.to(memory_format=model.memory_format)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
) -> float:
    """One step of the weighted loss in eager mode, NCHW; returns the loss."""
    model.train()
    losses = torch.nn.functional.cross_entropy(model(images)[0], labels, reduction="none")
    loss = (losses * weights).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)
