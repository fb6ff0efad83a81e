"""An epoch of training, whatever the targets and the loss."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch

from utils.errors import UserError
from utils.training.losses import Batch


def train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Batch, ...]],
    loss: Callable,
    *,
    rate: Callable[[float], float],
    amp: bool = False,
    after_step: Callable[[], None] | None = None,
) -> float:
    """One epoch over `batches`, a Batch a view each; the mean loss per step.

    loss: network, views -> the loss of the step; rate: the fraction of the epoch done -> learning
    rate; after_step: called after each.  Raises UserError where the loss is not finite any more."""
    network.train()
    total = None
    for step, views in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate(step / len(batches))
        with autocast(views[0].images, amp):
            value = loss(network, views)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if after_step:
            after_step()
        total = value.detach() if total is None else total + value.detach()
    mean = float(total) / len(batches)
    if not math.isfinite(mean):
        raise UserError("the loss is not finite any more: use a smaller --lr, or --lr-rampup")
    return mean


def autocast(images: torch.Tensor, amp: bool):
    """bfloat16 where asked for, on the device of the images; it needs no loss scaling."""
    return torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext()
