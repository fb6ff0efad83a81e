"""UHerding: generalised coverage weighted by uncertainty, from low to high budgets.

Source: Bae, Oliveira & Sutherland, "Uncertainty herding: one active learning method for all label
budgets", ICLR 2025: MaxHerding's greedy maximisation of E_x U(x) max_{x' in L} k_σ(x, x'), the
uncertainty coverage of section 3, with both of its adaptations to the labels:

* σ, the radius of the Gaussian kernel, is the least distance between two labeled images (features
  of unit length): with many labels the picks become those of uncertainty alone.
* U is one minus the margin of the probabilities at a temperature τ that calibrates them: with few
  labels τ is large, U the same everywhere, and the picks are MaxHerding's.

The paper fits τ to the calibration error on labels that it holds out from a second training.  A
network that was trained on all labels is sure of them, and there are no others; so their held-out
accuracy is estimated by each labeled image's nearest other one (between the same features), and τ
is such that the mean confidence on the unlabeled images is that accuracy: the calibration error of
a single bin, made zero.  Of R right ones of L the estimate is (R + 1/2) / (L + 1) (Krichevsky &
Trofimov, IEEE Transactions on Information Theory 27, 1981): no few labels show that a network is
never wrong, and no τ makes it so.
"""

import logging

import numpy as np
import torch
import torch.nn.functional as F

from al_methods import greedy_coverage
from al_methods.maxherding import SIGMA
from al_methods.spec import Method

log = logging.getLogger("al.uherding")

MIN_DISTANCE = 1e-3  # distances below are those of duplicates, and rounding
NUM_BISECTIONS = 40
TEMPERATURE_RANGE = (1e-3, 1e3)  # of the temperatures


def pick(
    *,
    pretrained_features: torch.Tensor,
    probs: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng=None,
) -> np.ndarray:
    """pretrained_features: (N, d); probs: (N, C); labels: (N,) int64, -1 where unknown, all of
    them perhaps -> (budget,) int64, in order."""
    x = F.normalize(pretrained_features)
    known = torch.as_tensor(np.flatnonzero(labels >= 0), device=x.device)
    classes = torch.as_tensor(labels[labels >= 0], device=x.device)
    sigma, accuracy = estimate_radius_and_accuracy(x[known], classes)
    logs = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
    unlabeled = torch.as_tensor(labels < 0, device=x.device)
    tau = calibrate_temperature(logs[unlabeled], accuracy)
    best = (logs / tau).softmax(dim=1).topk(min(2, probs.shape[1]), dim=1).values
    weights = 1 - (best[:, 0] - best[:, 1]) if best.shape[1] == 2 else torch.ones_like(best[:, 0])
    # Of any scale the picks are the same; `cover_images` takes what is tiny beside 1 for nothing.
    weights = weights / weights.max() if weights.any() else torch.ones_like(weights)
    log.info("uherding: radius %.4g, temperature %.4g", sigma, tau)
    kernel = greedy_coverage.make_gaussian_kernel(x, sigma)
    picks, _ = greedy_coverage.select_covering_images(kernel, labels, budget, x.device, weights)
    return np.array(picks, dtype=np.int64)


def estimate_radius_and_accuracy(x: torch.Tensor, classes: torch.Tensor) -> tuple[float, float]:
    """The least distance between two labeled images, duplicates aside, and an estimate of the part
    of them whose nearest other one is of their class.  x: (L, d), classes: (L,); of fewer than two:
    SIGMA, 0."""
    if len(x) < 2:
        return SIGMA, 0.0
    at, between = torch.arange(len(x), device=x.device), greedy_coverage.make_squared_distance(x)
    least, right = torch.inf, 0
    for rows in at.split(max(greedy_coverage.MAX_KERNEL_VALUES // len(x), 1)):
        apart = between(rows, at)
        apart[torch.arange(len(rows), device=x.device), rows] = torch.inf
        right += int((classes[apart.argmin(dim=1)] == classes[rows]).sum())
        least = min(least, float(apart.masked_fill(apart < MIN_DISTANCE**2, torch.inf).min()))
    return (least**0.5 if least < torch.inf else SIGMA), (right + 0.5) / (len(x) + 1)


def calibrate_temperature(logs: torch.Tensor, accuracy: float) -> float:
    """τ at which the mean largest softmax(logs / τ) is `accuracy`, within RANGE; (M, C) -> τ, and
    infinite where the accuracy is no better than chance."""
    if accuracy * logs.shape[1] <= 1:
        return torch.inf
    low, high = TEMPERATURE_RANGE
    for _ in range(NUM_BISECTIONS):
        middle = (low * high) ** 0.5
        sure = float((logs / middle).softmax(dim=1).amax(dim=1).mean())
        low, high = (middle, high) if sure > accuracy else (low, middle)
    return high


METHOD = Method(pick, needs=("pretrained_features", "probs"))
