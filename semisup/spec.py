"""What an entry of the algorithm registry contains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.batches import batches_of_used_images
from data.pool import Pool, Targets, targets_from_labels
from semisup.leave_one_out import LeaveOneOut
from training.losses import WeightedLoss
from training.network_outputs import option_groups_of
from utils.options.option import Component, OptionGroup


def initial_supervised_targets(pool: Pool, num_classes: int, carry_over: dict[str, Any]) -> Targets:
    """The known labels alone: the start of a cycle for algorithms without better targets."""
    return targets_from_labels(pool, num_classes)


def never_update(cycle: int, epoch: int) -> bool:
    """Keep the targets for the whole cycle."""
    return False


@dataclass(frozen=True)
class Algorithm(Component):
    """A training algorithm, an entry of ALGORITHMS: what is trained on, and how.

    Each function also takes the option groups that it names as types of its parameters.

    initial_targets: pool, num_classes, carry_over -> the targets at the start of a cycle.
    update_due: cycle, epoch -> whether the targets are updated before this epoch (0: the first).
    update_targets: pool, num_classes, rng, cycle and the inputs of `needs`, all by name -> new
    targets, from the network as it is now.
    needs: names of the inputs, as in training.network_outputs.OUTPUT_FUNCTIONS, or a function of
    the algorithm's options that returns them.
    carry_over: cycle and the inputs of `carry_over_needs`, all by name -> arrays by name that the
    last network of a cycle leaves to the next cycle's initial_targets.
    epoch_batches: targets, pool, rng -> the batches of an epoch, as data.batches.BatchLoader takes
    them.
    augmentations: the views of each batch, names of data.augment.AUGMENTATIONS.
    make_loss: num_classes -> the loss of a step, a module as in training.losses.
    leave_one_out: pool, num_classes, images (some of the labeled ones) and the inputs of `needs`,
    all by name -> semisup.leave_one_out.LeaveOneOut and the labels (N,) that the algorithm itself
    propagates; for the estimate of the accuracy (experiment.estimates).
    rng_purpose: what the random generator of update_targets is derived from."""

    initial_targets: Callable[..., Targets] = initial_supervised_targets
    update_due: Callable[..., bool] = never_update
    update_targets: Callable[..., Targets] | None = None
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    carry_over: Callable[..., dict[str, Any]] | None = None
    carry_over_needs: tuple[str, ...] = ()
    epoch_batches: Callable[..., list[Any]] = batches_of_used_images
    augmentations: tuple[str, ...] = ("weak",)
    make_loss: Callable[..., torch.nn.Module] = WeightedLoss
    leave_one_out: Callable[..., tuple[LeaveOneOut, np.ndarray]] | None = None
    rng_purpose: str = "targets"

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """The option groups of the entry's functions and of what computes its inputs."""
        names = (*(() if callable(self.needs) else self.needs), *self.carry_over_needs)
        return tuple(dict.fromkeys([*super().groups(), *option_groups_of(names)]))


SUPERVISED = Algorithm()  # labels only: the baseline of every active-learning comparison
