"""What a row of the algorithm registry holds."""

from collections.abc import Callable
from dataclasses import dataclass

from data.batches import used_images
from data.pool import Pool, Targets, supervised_targets
from training.losses import WeightedLoss
from utils.options.option import Row


def known_labels(pool: Pool, num_classes: int, carried: dict) -> Targets:
    """What a cycle starts with unless an algorithm knows more: the labels."""
    return supervised_targets(pool, num_classes)


def never(cycle: int, epoch: int) -> bool:
    """The targets stay as they are for the whole cycle."""
    return False


@dataclass(frozen=True)
class Algorithm(Row):
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

    title: str = ""
    summary: str = ""
    start: Callable[..., Targets] = known_labels
    due: Callable[..., bool] = never
    renew: Callable[..., Targets] | None = None
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    carry: Callable[..., dict] | None = None
    carries_from: tuple[str, ...] = ()
    streams: Callable[..., list] = used_images
    views: tuple[str, ...] = ("weak",)
    loss: Callable = WeightedLoss
    draws: str = "targets"
