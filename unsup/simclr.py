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

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data.augment import ImageStore
from data.batches import BatchLoader, make_shuffled_batches
from data.pool import Targets
from training.epoch import train_epoch
from training.network_outputs import extract_outputs
from unsup import shared_options
from unsup.spec import Pretrainer
from utils.console import EpochProgressBar
from utils.errors import UserError
from utils.options.converters import positive_float
from utils.options.option import Option
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


def pretrain(
    model,
    images: ImageStore,
    *,
    seed: int,
    num_classes: int = 0,
    epochs: int = 400,
    lr: float = 0.02,
    batch_size: int = 128,
    temperature: float = 0.5,
    resume: dict | None = None,
    after_epoch: Callable[[int, dict], None] = lambda done, state: None,
    amp: bool = False,
) -> list[dict]:
    """Train `model`'s backbone in place; -> a row an epoch: epoch, loss.

    resume: a state that `after_epoch` was given; num_classes is not read: no label enters."""
    torch.manual_seed(derive_seed(seed, "projection"))
    network = ProjectionNetwork(model.backbone, model.feature_dim).to(images.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=WEIGHT_DECAY)
    rows = []
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        rows = list(resume["rows"])
    loss, everything = ContrastiveLoss(temperature), np.arange(len(images))
    nothing = Targets(np.zeros_like(everything), np.ones(len(images), np.float32), np.ones(1))
    with EpochProgressBar(range(len(rows), epochs), "pre-training") as shown:
        for epoch in shown:
            streams = make_shuffled_batches(
                everything, batch_size, rng_for(seed, "views of", 0, epoch)
            )
            rng = rng_for(seed, "augment", 0, epoch)
            batches = BatchLoader(images, nothing, streams, rng, ("strong", "strong"))
            torch.manual_seed(derive_seed(seed, "dropout", 0, epoch))

            def rate(done: float, epoch: int = epoch) -> float:
                return lr * (1 + math.cos(math.pi * (epoch + done) / epochs)) / 2

            more = {"rate": rate, "amp": amp, **shared_options.divergence_context(epoch)}
            mean = train_epoch(network, optimizer, batches, loss, **more)
            rows.append({"epoch": epoch, "loss": mean})
            shown.set_postfix_str(f"loss {mean:.3f}")
            states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            after_epoch(epoch + 1, {**states, "rows": rows})
    # Weights that give no numbers are not kept.
    extract_outputs(model, images, amp=amp, **shared_options.divergence_context(epochs - 1))
    return rows


def _check(args) -> None:
    if args.pretraining_lr > MAX_LEARNING_RATE:
        raise UserError(
            f"--pretraining-lr {args.pretraining_lr} is beyond what AdamW can count with: use a "
            "smaller --pretraining-lr"
        )


TEMPERATURE = Option(
    "pretraining_temperature", 0.5, "temperature of the contrastive loss", kind=positive_float,
    keyword="temperature",
)  # fmt: skip

PRETRAINER = Pretrainer(
    pretrain,
    columns=("epoch", "loss"),
    options=(shared_options.EPOCHS, shared_options.LR, shared_options.BATCH_SIZE, TEMPERATURE),
    check=_check,
    defaults={
        "pretraining_epochs": 100,
        "pretraining_lr": 0.002,
        "pretraining_batch_size": 256,
    },
)
