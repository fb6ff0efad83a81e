"""SimCLR: pre-training on all images by recognising an image in two views of it.

Source: Chen, Kornblith, Norouzi & Hinton, "A simple framework for contrastive learning of visual
representations", ICML 2020, section 2, algorithm 1.  Each step: two strong views of every image of
a batch -> backbone -> projection -> NT-Xent loss.  The projection is thrown away; the backbone is
what is kept.  AdamW and half a cosine in place of LARS, which is for batches of thousands.

The views are data.strong_augment's.  Whether they leave an image its class is not known without labels;
what they can be seen to spoil is logged and warned of (unsup.feature_quality).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.augment import ImageStore
from data.batches import BatchLoader, make_shuffled_batches
from data.pool import Targets
from training.epoch import train_epoch
from training.network_outputs import extract_outputs
from unsup.shared_options import PretrainingLoopOptions, divergence_context
from unsup.spec import Pretrainer
from utils.console import EpochProgressBar
from utils.errors import UserError
from utils.options.converters import positive_float
from utils.options.option import OptionGroup, OptionValues, option
from utils.seeding import derive_seed, rng_for

WEIGHT_DECAY = 1e-4
PROJECTION_DIM = 64  # outputs of the projection
MAX_LEARNING_RATE = 1e30  # its steps are some times the rate, in float32


class ProjectionNetwork(nn.Module):
    """backbone -> projection: images (B, c, H, W) -> (B, PROJECTION) of unit length."""

    def __init__(self, backbone: nn.Module, dim: int):
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, PROJECTION_DIM)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.projection(self.backbone(images)))


class ContrastiveLoss(nn.Module):
    """NT-Xent, equation 1: each of 2 B views has to tell its partner from all others, by the cosine
    divided by the temperature."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, network: nn.Module, views: tuple) -> torch.Tensor:
        """views: two Batches of the same images, of which at least two."""
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
    model,
    images: ImageStore,
    *,
    seed: int,
    num_classes: int = 0,
    loop: PretrainingLoopOptions,
    simclr: SimclrOptions,
    resume: dict | None = None,
    after_epoch: Callable[[int, dict], None] = lambda done, state: None,
    amp: bool = False,
) -> list[dict]:
    """Train `model`'s backbone in place; -> one row per epoch: epoch, loss.

    resume: a state that `after_epoch` received; num_classes is ignored: no label is used."""
    epochs, lr = loop.pretraining_epochs, loop.pretraining_lr
    torch.manual_seed(derive_seed(seed, "projection"))
    network = ProjectionNetwork(model.backbone, model.feature_dim).to(images.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=WEIGHT_DECAY)
    rows = []
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        rows = list(resume["rows"])
    loss, everything = ContrastiveLoss(simclr.pretraining_temperature), np.arange(len(images))
    nothing = Targets(np.zeros_like(everything), np.ones(len(images), np.float32), np.ones(1))
    with EpochProgressBar(range(len(rows), epochs), "pre-training") as shown:
        for epoch in shown:
            streams = make_shuffled_batches(
                everything, loop.pretraining_batch_size, rng_for(seed, "views of", 0, epoch)
            )
            rng = rng_for(seed, "augment", 0, epoch)
            batches = BatchLoader(images, nothing, streams, rng, ("strong", "strong"))
            torch.manual_seed(derive_seed(seed, "dropout", 0, epoch))

            def rate(done: float, epoch: int = epoch) -> float:
                return lr * (1 + math.cos(math.pi * (epoch + done) / epochs)) / 2

            more = {"lr_schedule": rate, "amp": amp, **divergence_context(epoch)}
            mean = train_epoch(network, optimizer, batches, loss, **more)
            rows.append({"epoch": epoch, "loss": mean})
            shown.set_postfix_str(f"loss {mean:.3f}")
            states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            after_epoch(epoch + 1, {**states, "rows": rows})
    # Weights that give no numbers are not kept.
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
