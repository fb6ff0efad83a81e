"""An epoch of training, whatever the targets and the loss."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch

from training.finite import DIVERGENCE_ADVICE, require_finite_epoch
from training.losses import Batch


def train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Batch, ...]],
    loss: Callable,
    *,
    lr_schedule: Callable[[float], float],
    amp: bool = False,
    after_step: Callable[[], None] | None = None,
    location: str = "training",
    advice: str = DIVERGENCE_ADVICE,
) -> float:
    """One epoch over `batches`, a Batch a view each; the mean loss per step.

    loss: network, views -> the loss of the step; rate: the fraction of the epoch done -> learning
    rate; after_step: called after each.  Raises NotFinite, which says `where`, the step and
    `advice`, for a loss that is not finite, or weights that are not after the last step."""
    network.train()
    total, totals = None, None  # of the losses, and after each step
    for step, views in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr_schedule(step / len(batches))
        with maybe_autocast(views[0].images, amp):
            value = loss(network, views)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if after_step:
            after_step()
        total = value.detach() if total is None else total + value.detach()
        totals = total.new_empty(len(batches)) if totals is None else totals
        totals[step] = total
    require_finite_epoch(totals, network, location, advice)
    return float(total) / len(batches)


def maybe_autocast(images: torch.Tensor, amp: bool):
    """bfloat16 where asked for, on the device of the images; it needs no loss scaling."""
    return torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext()
