"""SimCLR: pre-training on all images by recognising an image in two augmented views.

Source: Chen, Kornblith, Norouzi & Hinton, "A simple framework for contrastive learning of visual
representations", ICML 2020, section 2, algorithm 1.  Each step: two strong views of every image of
a batch -> backbone -> projection -> NT-Xent loss.  The backbone is kept and the projection
discarded.  AdamW with a cosine schedule replaces LARS, which is meant for batches of thousands.

The views are those of data.strong_augment.  Whether they preserve the class of an image cannot be
known without labels; unsup.feature_quality warns where the features did not improve.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.augment import ImageStore
from data.batches import BatchLoader, make_shuffled_batches
from data.pool import Targets
from models.network import Network
from training.epoch import train_epoch
from training.losses import Batch
from training.network_outputs import extract_outputs
from unsup.shared_options import PretrainingLoopOptions, divergence_context
from unsup.spec import Pretrainer
from utils.console import EpochProgressBar
from utils.errors import UserError
from utils.options.converters import positive_float
from utils.options.option import OptionGroup, OptionValues, option
from utils.seeding import derive_seed, rng_for

WEIGHT_DECAY = 1e-4
PROJECTION_DIM = 64
# Indices of a batch (B,), rng, share of the epochs that are done -> indices of as many images.
PartnerChoice = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]
MAX_LEARNING_RATE = 1e30  # AdamW multiplies it by small factors, in float32


class ProjectionNetwork(nn.Module):
    """backbone -> projection: images (B, c, H, W) -> (B, PROJECTION_DIM) of unit length."""

    def __init__(self, backbone: nn.Module, projection: nn.Module):
        super().__init__()
        self.backbone, self.projection = backbone, projection

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.projection(self.backbone(images)))


def two_layers(dim: int) -> nn.Module:
    """The projection g of section 2: (B, dim) -> (B, PROJECTION_DIM)."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, PROJECTION_DIM))


def same_images(batch: np.ndarray, rng: np.random.Generator, progress: float) -> np.ndarray:
    """Both views of a pair show the same image."""
    return batch


class ContrastiveLoss(nn.Module):
    """NT-Xent, equation 1: each of the 2 B views must identify its partner among all others, by the
    cosine similarity divided by the temperature."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, network: nn.Module, views: tuple[Batch, ...]) -> torch.Tensor:
        """The loss; views: two Batches of the same images, at least two images."""
        z = network(torch.cat([view.images for view in views])).float()  # (2 B, d)
        logits = (z @ z.T / self.temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
        return F.cross_entropy(logits, partner)


@dataclass(frozen=True)
class SimclrOptions(OptionGroup):
    """The contrastive loss."""

    section = "unsupervised pre-training"
    pretraining_temperature: float = option(
        0.5, "Temperature of SimCLR's contrastive loss.", type=positive_float
    )

    def check(self, options: OptionValues) -> None:
        lr = options.of(PretrainingLoopOptions).pretraining_lr
        if lr > MAX_LEARNING_RATE:
            raise UserError(
                f"--pretraining-lr {lr} overflows the arithmetic of AdamW: use a smaller "
                "--pretraining-lr"
            )


def pretrain(
    model: Network,
    images: ImageStore,
    *,
    loop: PretrainingLoopOptions,
    simclr: SimclrOptions,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Train `model.backbone` in place on the paper's pairs, two views of each image.  Arguments and
    result as in `pretrain_on_pairs`."""
    return pretrain_on_pairs(
        model,
        images,
        loop=loop,
        simclr=simclr,
        make_projection=two_layers,
        choose_partners=same_images,
        **settings,
    )


def pretrain_on_pairs(
    model: Network,
    images: ImageStore,
    *,
    seed: int,
    num_classes: int = 0,
    loop: PretrainingLoopOptions,
    simclr: SimclrOptions,
    make_projection: Callable[[int], nn.Module],
    choose_partners: PartnerChoice,
    resume: dict[str, Any] | None = None,
    after_epoch: Callable[[int, dict[str, Any]], None] = lambda done, state: None,
    amp: bool = False,
) -> list[dict[str, Any]]:
    """Train `model.backbone` in place; returns one row per epoch, with epoch and loss.

    num_classes: ignored.  make_projection: number of features -> projection.
    choose_partners: which images the second views of a batch show.
    resume: a state that `after_epoch` received; after_epoch: called with the number of finished
    epochs and the state.  Raises NotFinite where the training diverges."""
    epochs, lr = loop.pretraining_epochs, loop.pretraining_lr
    torch.manual_seed(derive_seed(seed, "projection"))
    projection = make_projection(model.feature_dim)
    network = ProjectionNetwork(model.backbone, projection).to(images.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=WEIGHT_DECAY)
    rows: list[dict[str, Any]] = []
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        rows = list(resume["rows"])
    loss, everything = ContrastiveLoss(simclr.pretraining_temperature), np.arange(len(images))
    # The loss reads no targets.
    targets = Targets(np.zeros_like(everything), np.ones(len(images), np.float32), np.ones(1))
    with EpochProgressBar(range(len(rows), epochs), "pre-training") as progress:
        for epoch in progress:
            first_views = make_shuffled_batches(
                everything, loop.pretraining_batch_size, rng_for(seed, "views of", 0, epoch)
            )
            rng = rng_for(seed, "partners", 0, epoch)
            share_done = epoch / epochs
            epoch_batches = [(b, choose_partners(b, rng, share_done)) for b in first_views]
            rng = rng_for(seed, "augment", 0, epoch)
            batches = BatchLoader(images, targets, epoch_batches, rng, ("strong", "strong"))
            torch.manual_seed(derive_seed(seed, "dropout", 0, epoch))

            def lr_schedule(fraction: float, epoch: int = epoch) -> float:
                return lr * (1 + math.cos(math.pi * (epoch + fraction) / epochs)) / 2

            mean_loss = train_epoch(
                network,
                optimizer,
                batches,
                loss,
                lr_schedule=lr_schedule,
                amp=amp,
                **divergence_context(epoch),
            )
            rows.append({"epoch": epoch, "loss": mean_loss})
            progress.set_postfix_str(f"loss {mean_loss:.3f}")
            states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            after_epoch(epoch + 1, {**states, "rows": rows})
    # Raises NotFinite, so that weights that do not work are not saved.
    extract_outputs(model, images, amp=amp, **divergence_context(epochs - 1))
    return rows


PRETRAINER = Pretrainer(
    pretrain,
    columns=("epoch", "loss"),
    defaults={
        "pretraining_epochs": 100,
        "pretraining_lr": 0.002,
        "pretraining_batch_size": 256,
    },
)
