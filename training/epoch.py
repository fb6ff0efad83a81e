"""An epoch of training, whatever the targets and the loss."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

from training.finite import DIVERGENCE_ADVICE, require_finite_epoch
from training.losses import Batch


class EpochBatches(Protocol):
    """The batches of an epoch, each a tuple with one Batch per augmentation."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Batch, ...]]: ...


def train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: EpochBatches,
    loss: Callable[[torch.nn.Module, tuple[Batch, ...]], torch.Tensor],
    *,
    lr_schedule: Callable[[float], float],
    amp: bool = False,
    after_step: Callable[[], None] | None = None,
    location: str = "training",
    advice: str = DIVERGENCE_ADVICE,
) -> float:
    """Train for one epoch; returns the mean loss per step.

    loss: network, views of a batch -> the loss of the step.
    lr_schedule: fraction of the epoch that is done -> learning rate.
    after_step: called after each step.
    location, advice: where this is and what to do, for the message of NotFinite, which is raised
    for a loss that is not finite and for weights that are not finite after the last step."""
    network.train()
    total: torch.Tensor | None = None  # sum of the losses so far
    totals: torch.Tensor | None = None  # the same after each step
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
    assert total is not None and totals is not None  # an epoch has at least one batch
    require_finite_epoch(totals, network, location, advice)
    return float(total) / len(batches)


def maybe_autocast(images: torch.Tensor, amp: bool) -> AbstractContextManager[object]:
    """With amp, bfloat16 on the device of the images; bfloat16 needs no loss scaling."""
    return torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext()
