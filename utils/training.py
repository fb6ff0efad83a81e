"""One way to train, evaluate and extract, whatever the targets come from.

The learning-rate schedule is Mean Teacher's (Tarvainen & Valpola, NIPS 2017): linear
ramp-up, then half a cosine.  The weighted loss is that of Iscen et al., CVPR 2019.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from utils import records
from utils.errors import UserError
from utils.records import log


def learning_rate(epoch: float, *, lr, initial_lr=0.0, rampup=0, rampdown=210) -> float:
    """The rate at a fractional epoch."""
    if epoch < rampup:
        return initial_lr + (lr - initial_lr) * epoch / rampup
    return lr * 0.5 * (math.cos(math.pi * epoch / rampdown) + 1)


def create_optimizer(model, *, lr, momentum, nesterov, weight_decay) -> torch.optim.SGD:
    """Stochastic gradient descent over all parameters."""
    return torch.optim.SGD(
        model.parameters(), lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


def image_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each image: cross-entropy where targets are (B,) classes, the Kullback-Leibler
    divergence of the prediction from the target where they are (B, C) distributions.  -> (B,)"""
    if targets.is_floating_point():
        return F.kl_div(F.log_softmax(logits, dim=1), targets, reduction="none").sum(dim=1)
    return F.cross_entropy(logits, targets, reduction="none")


def train_epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable,
    *,
    rate: Callable[[float], float],
    amp: bool = False,
) -> float:
    """One epoch over `batches` of (images, targets, weights); the mean loss per step.

    images: (B, c, H, W); targets: (B,) int64 or (B, C) float; weights: (B,), None for all one.
    `rate` maps the fraction of the epoch done to the learning rate.  The loss of a batch is
    Σ_i w_i ℓ_i / B.  Raises UserError where the loss is not finite any more."""
    model.train()
    total = None
    for step, (images, targets, weights) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate(step / len(batches))
        with autocast(images, amp):
            losses = image_losses(model(images)[0].float(), targets)
            loss = (losses if weights is None else losses * weights).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = loss.detach() if total is None else total + loss.detach()
    mean = float(total) / len(batches)
    if not math.isfinite(mean):
        raise UserError("the loss is not finite any more: use a smaller --lr, or --lr-rampup")
    return mean


@dataclass(frozen=True)
class Progress:
    """How far training has come: epochs done, steps of all of them, mean loss of the last."""

    epoch: int = 0
    steps: int = 0
    loss: float = math.nan


def fit(
    model,
    optimizer,
    batches_of: Callable[[int], Iterable],
    *,
    epochs: int,
    rate: Callable[[float], float],
    seed_of: Callable[[int], int],
    start: Progress,
    stage: str,
    after_epoch: Callable[[Progress], str | None],
    amp: bool = False,
) -> Progress:
    """Train from `start` up to `epochs` epochs.

    batches_of: epoch -> its batches, as `train_epoch` takes them; rate: fractional epoch ->
    learning rate; seed_of: epoch -> the seed of dropout, the one user of torch's own generator;
    after_epoch: called with the progress, may return words for the progress bar `stage`."""
    progress = start
    with records.bar(range(start.epoch, epochs), stage) as shown:
        for epoch in shown:
            batches = batches_of(epoch)
            torch.manual_seed(seed_of(epoch))
            loss = train_epoch(
                model, optimizer, batches, rate=lambda done, e=epoch: rate(e + done), amp=amp
            )
            progress = Progress(epoch + 1, progress.steps + len(batches), loss)
            shown.set_postfix_str(after_epoch(progress) or f"loss {loss:.3f}")
    return progress


def autocast(images: torch.Tensor, amp: bool):
    """bfloat16 where asked for, on the device of the images; it needs no loss scaling."""
    return torch.autocast(images.device.type, torch.bfloat16) if amp else nullcontext()


@torch.inference_mode()
def extract(model, images, *, batch_size: int = 512, amp: bool = False):
    """Features and class probabilities of all images, un-augmented, in evaluation mode.

    images: ImageBatches of N -> (N, d) float32, (N, C) float32, on the images' device."""
    model.eval()
    features, probabilities = [], []
    for start in range(0, len(images), batch_size):
        batch = images.plain(slice(start, start + batch_size))
        with autocast(batch, amp):
            logits, vectors = model(batch)
        features.append(vectors.float())
        probabilities.append(logits.float().softmax(dim=1))
    return torch.cat(features), torch.cat(probabilities)


def evaluate(model, images, labels: np.ndarray, *, amp: bool = False) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in percent (top-C where there are fewer classes).

    images: ImageBatches of N; labels: (N,) int64."""
    _, probabilities = extract(model, images, amp=amp)
    wanted = torch.as_tensor(labels, device=probabilities.device)[:, None]
    ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == wanted
    count = len(labels)
    return 100 * int(ranked[:, :1].sum()) / count, 100 * int(ranked.sum()) / count


def compiled(model: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """`model` compiled, or as it is with a warning where that does not work here.

    Tried at once on `example` (B, c, H, W), since torch compiles only on the first call."""
    try:
        fast = torch.compile(model, dynamic=True)
        with torch.no_grad():
            fast(example)
        return fast
    except Exception as error:  # no compiler, or one that fails: many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("--compile has no effect here: %s", reason)
        torch.compiler.reset()
        return model
