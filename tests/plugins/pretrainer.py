"""A pre-training: predict by how much an image was darkened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from data.augment import ImageStore
from models.network import Network
from unsup.shared_options import PretrainingLoopOptions
from unsup.spec import Pretrainer
from utils.options.converters import fraction_below_one
from utils.options.option import OptionGroup, option
from utils.seeding import rng_for


@dataclass(frozen=True)
class ShadeOptions(OptionGroup):
    section = "unsupervised pre-training"
    plugin_darkest: float = option(
        0.5, "Smallest factor by which pixels are multiplied.", type=fraction_below_one
    )


def pretrain(
    model: Network,
    images: ImageStore,
    *,
    num_classes: int,
    seed: int,
    loop: PretrainingLoopOptions,
    shade: ShadeOptions,
    resume: dict[str, Any] | None = None,
    after_epoch: Callable[[int, dict[str, Any]], None],
    amp: bool,
) -> list[dict[str, Any]]:
    """Train the model in place; returns one row per epoch, with epoch and loss."""
    rows = list(resume["rows"]) if resume else []
    model.train()
    if resume:
        model.load_state_dict(resume["model"])
    optimizer = torch.optim.SGD(model.parameters(), loop.pretraining_lr)
    for epoch in range(len(rows), loop.pretraining_epochs):
        rng = rng_for(seed, "plugin", 0, epoch)
        chosen = rng.permutation(len(images))[: loop.pretraining_batch_size]
        factors = rng.uniform(shade.plugin_darkest, 1, size=len(chosen))
        targets = torch.as_tensor(factors, dtype=torch.float32, device=images.device)
        logits, _ = model(images.plain_batch(chosen) * targets[:, None, None, None])
        loss = F.mse_loss(logits[:, 0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append({"epoch": epoch, "loss": loss.item()})
        after_epoch(epoch + 1, {"model": model.state_dict(), "rows": rows})
    return rows


PRETRAINER = Pretrainer(pretrain, columns=("epoch", "loss"))
