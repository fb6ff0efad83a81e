"""SimCLR whose second view may show a similar image, so that a few epochs suffice.

SimCLR (unsup.simclr) learns that two views of one image belong together.  Many epochs pass until
different images of a class are near each other.  Here the second view of a pair may be that of one
of the image's nearest neighbours, at first always, then more and more rarely, at the end never: the
neighbours give the classes a rough place, and the images themselves correct what they got wrong.

Neighbours as positives are those of NNCLR: Dwibedi, Aytar, Tompson, Sermanet & Zisserman, "With a
little help from my friends: nearest-neighbor contrastive learning of visual representations", ICCV
2021, section 3.  NNCLR searches them among the features that are being learned.  Here they are
neighbours by pixels, searched once, which are informative from the first step.  The projection has
batch normalisation, as in SimCLR's released code.

It is meant for images whose neighbours by pixels are often of their class, such as scans of digits.
"""

from typing import Any

import numpy as np
from torch import nn

from data.augment import ImageStore
from data.pixel_features import extract_in_batches, make_pixel_extractor
from models.layers.norm import BatchNorm1d
from models.network import Network
from unsup.shared_options import PretrainingLoopOptions
from unsup.simclr import PROJECTION_DIM, PartnerChoice, SimclrOptions, pretrain_on_pairs
from unsup.spec import Pretrainer
from utils.arrays import l2_normalize
from utils.graph import knn

NUM_NEIGHBORS = 3
HIDDEN_UNITS = 256


def pretrain(
    model: Network,
    images: ImageStore,
    *,
    loop: PretrainingLoopOptions,
    simclr: SimclrOptions,
    **settings: Any,
) -> list[dict[str, Any]]:
    """As unsup.simclr.pretrain_on_pairs, with neighbours as positives and another projection."""
    return pretrain_on_pairs(
        model,
        images,
        loop=loop,
        simclr=simclr,
        make_projection=two_layers_with_norm,
        choose_partners=partner_choice(pixel_neighbors(images)),
        **settings,
    )


def pixel_neighbors(images: ImageStore) -> np.ndarray:
    """The images most similar to each by cosine of the normalised pixels: (N, k) int64 with
    k = NUM_NEIGHBORS, or N - 1 for fewer images."""
    pixels = extract_in_batches(images, make_pixel_extractor(images)).cpu().numpy()
    return knn(l2_normalize(pixels), min(NUM_NEIGHBORS, len(pixels) - 1), "auto")[1]


def partner_choice(neighbors: np.ndarray) -> PartnerChoice:
    """The function that chooses what the second views of a batch show: one of the image's
    neighbours with probability 1 - progress, or else the image itself.

    neighbors: (N, k) int64."""

    def choose_partners(batch: np.ndarray, rng: np.random.Generator, progress: float) -> np.ndarray:
        ranks = rng.integers(neighbors.shape[1], size=len(batch))
        shows_neighbor = rng.random(len(batch)) < 1 - progress
        return np.where(shows_neighbor, neighbors[batch, ranks], batch)

    return choose_partners


def two_layers_with_norm(dim: int) -> nn.Module:
    """(B, dim) -> (B, PROJECTION_DIM)."""
    return nn.Sequential(
        nn.Linear(dim, HIDDEN_UNITS, bias=False),
        BatchNorm1d(HIDDEN_UNITS),
        nn.ReLU(),
        nn.Linear(HIDDEN_UNITS, PROJECTION_DIM),
    )


PRETRAINER = Pretrainer(
    pretrain,
    columns=("epoch", "loss"),
    defaults={
        "pretraining_epochs": 20,
        "pretraining_lr": 0.002,
        "pretraining_batch_size": 64,
    },
)
