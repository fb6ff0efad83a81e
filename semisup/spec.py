"""What a row of the algorithm registry holds."""

from collections.abc import Callable
from dataclasses import dataclass

from data.batches import batches_of_used_images
from data.pool import Pool, Targets, targets_from_labels
from training.losses import WeightedLoss
from training.network_outputs import option_groups_of
from utils.options.option import Component, OptionGroup


def initial_supervised_targets(pool: Pool, num_classes: int, carry_over: dict) -> Targets:
    """What a cycle starts with unless an algorithm knows more: the labels."""
    return targets_from_labels(pool, num_classes)


def never_update(cycle: int, epoch: int) -> bool:
    """The targets stay as they are for the whole cycle."""
    return False


@dataclass(frozen=True)
class Algorithm(Component):
    """A row of ALGORITHMS: what is trained on, and how.  Each function also takes, as keyword
    arguments, those of the row's options that it has a parameter for.

    title, summary: of its section in the help and of the option --add-NAME, which chooses it; no
    title: it is what a run does that is asked for nothing.
    start: pool, num_classes, carried -> the Targets that a cycle starts with.
    due: cycle, epoch -> are the targets made anew before this epoch (0 for the first)?
    renew: pool, num_classes, rng, cycle and what it needs -> Targets, from the network as it is.
    needs: names of what experiment.Experiment.outputs gives, or a function that gives them.
    carry: cycle and what it carries_from -> arrays by name, what the last network leaves behind
    for the next cycle's `start`; carries_from: names as in needs.
    streams: targets, pool, rng, batch_size, steps -> the batches of an epoch, as
    data.batches.TrainingBatches takes them; views: what each batch shows (data.augment.VIEWS).
    loss: num_classes -> the loss of a step, a module (training.losses).
    draws: what its random stream is derived from."""

    initial_targets: Callable[..., Targets] = initial_supervised_targets
    update_due: Callable[..., bool] = never_update
    update_targets: Callable[..., Targets] | None = None
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    carry_over: Callable[..., dict] | None = None
    carry_over_needs: tuple[str, ...] = ()
    epoch_batches: Callable[..., list] = batches_of_used_images
    augmentations: tuple[str, ...] = ("weak",)
    make_loss: Callable = WeightedLoss
    rng_purpose: str = "targets"

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """Those of its functions, and of what computes its needs."""
        fixed = (*(() if callable(self.needs) else self.needs), *self.carry_over_needs)
        return tuple(dict.fromkeys([*super().groups(), *option_groups_of(fixed)]))


SUPERVISED = Algorithm()  # the labels alone: the baseline of every active-learning comparison
