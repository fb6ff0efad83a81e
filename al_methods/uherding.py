"""UHerding: generalised coverage weighted by uncertainty, for low to high budgets.

Source: Bae, Oliveira & Sutherland, "Uncertainty herding: one active learning method for all label
budgets", ICLR 2025: greedy maximisation, as in MaxHerding, of the uncertainty coverage
E_x U(x) max_{x' in L} k_σ(x, x') of section 3, with both of its adaptations to the labels:

* σ, the radius of the Gaussian kernel, is the smallest distance between two labeled images
  (features of unit length).  With many labels, the picks become those of uncertainty alone.
* U is one minus the margin of the probabilities at a temperature τ that calibrates them.  With few
  labels τ is large and U the same everywhere, so the picks are MaxHerding's.

The paper fits τ to the calibration error on labels held out from a second training.  Here there are
no such labels, and the network is certain of all labels that it was trained on.  Its accuracy is
therefore estimated by the leave-one-out accuracy of the nearest labeled image (same features), and
τ is chosen so that the mean confidence on the unlabeled images equals this accuracy, which makes
the calibration error of a single bin zero.  With R of L correct, the estimate is
(R + 1/2) / (L + 1) (Krichevsky & Trofimov, IEEE Transactions on Information Theory 27, 1981): a few
labels cannot show that a network is never wrong, and no τ could make it so.
"""

import logging

import numpy as np
import torch
import torch.nn.functional as F

from al_methods import greedy_coverage
from al_methods.maxherding import SIGMA
from al_methods.spec import Method

log = logging.getLogger("al.uherding")

MIN_DISTANCE = 1e-3  # images that are closer are duplicates, apart by rounding only
NUM_BISECTIONS = 40
TEMPERATURE_RANGE = (1e-3, 1e3)


def pick(
    *,
    pretrained_features: torch.Tensor,
    probs: torch.Tensor,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Images to label next, in order: (budget,) int64.

    pretrained_features: (N, d); probs: (N, C) softmax; labels: (N,) int64, -1 where unknown,
    possibly everywhere."""
    x = F.normalize(pretrained_features)
    labeled = torch.as_tensor(np.flatnonzero(labels >= 0), device=x.device)
    classes = torch.as_tensor(labels[labels >= 0], device=x.device)
    sigma, accuracy = estimate_radius_and_accuracy(x[labeled], classes)
    log_probs = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
    unlabeled = torch.as_tensor(labels < 0, device=x.device)
    tau = calibrate_temperature(log_probs[unlabeled], accuracy)
    best = (log_probs / tau).softmax(dim=1).topk(min(2, probs.shape[1]), dim=1).values
    weights = 1 - (best[:, 0] - best[:, 1]) if best.shape[1] == 2 else torch.ones_like(best[:, 0])
    # The scale changes no pick, but `maximize_coverage` takes gains that are tiny beside 1 for 0.
    weights = weights / weights.max() if weights.any() else torch.ones_like(weights)
    log.info("uherding: radius %.4g, temperature %.4g", sigma, tau)
    kernel = greedy_coverage.make_gaussian_kernel(x, sigma)
    picks, _ = greedy_coverage.select_covering_images(
        kernel, labels, budget, x.device, weights, rng
    )
    return np.array(picks, dtype=np.int64)


def estimate_radius_and_accuracy(x: torch.Tensor, classes: torch.Tensor) -> tuple[float, float]:
    """The smallest distance between two labeled images, duplicates aside, and an estimate of the
    share of labeled images whose nearest other labeled image is of the same class.

    x: (L, d), classes: (L,), of the labeled images.  With fewer than two: SIGMA and 0."""
    if len(x) < 2:
        return SIGMA, 0.0
    everything = torch.arange(len(x), device=x.device)
    squared_distance = greedy_coverage.make_squared_distance(x)
    smallest, correct = torch.inf, 0
    for rows in everything.split(max(greedy_coverage.MAX_KERNEL_VALUES // len(x), 1)):
        squares = squared_distance(rows, everything)
        squares[torch.arange(len(rows), device=x.device), rows] = torch.inf
        correct += int((classes[squares.argmin(dim=1)] == classes[rows]).sum())
        distinct = squares.masked_fill(squares < MIN_DISTANCE**2, torch.inf)
        smallest = min(smallest, float(distinct.min()))
    radius = smallest**0.5 if smallest < torch.inf else SIGMA
    return radius, (correct + 0.5) / (len(x) + 1)


def calibrate_temperature(log_probs: torch.Tensor, accuracy: float) -> float:
    """The temperature τ at which the mean of the largest softmax(log_probs / τ) is `accuracy`.

    log_probs: (M, C).  τ is within TEMPERATURE_RANGE, or inf where the accuracy is no better than
    chance."""
    if accuracy * log_probs.shape[1] <= 1:
        return torch.inf
    low, high = TEMPERATURE_RANGE
    for _ in range(NUM_BISECTIONS):
        middle = (low * high) ** 0.5
        confidence = float((log_probs / middle).softmax(dim=1).amax(dim=1).mean())
        low, high = (middle, high) if confidence > accuracy else (low, middle)
    return high


METHOD = Method(pick, needs=("pretrained_features", "probs"))
