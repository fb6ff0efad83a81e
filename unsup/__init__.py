"""Unsupervised pre-training: one method per file, one entry each in PRETRAINERS."""

from dataclasses import dataclass

from unsup import deepcluster, neighbor_simclr, simclr
from utils.errors import UserError
from utils.options.converters import one_of
from utils.options.option import Condition, OptionGroup, OptionValues, option
from utils.options.schema import Registry

PRETRAINERS = {
    "deepcluster": deepcluster.PRETRAINER,
    "simclr": simclr.PRETRAINER,
    "neighbor_simclr": neighbor_simclr.PRETRAINER,
}

SECTION_TITLE = "unsupervised pre-training"
_ON = Condition(
    lambda options: options.add_unsupervised_pretraining, "--add-unsupervised-pretraining"
)


@dataclass(frozen=True)
class PretrainingOptions(OptionGroup):
    """Whether and how the network is pre-trained."""

    section = SECTION_TITLE
    add_unsupervised_pretraining: bool = option(
        False,
        "Start from weights pre-trained without labels; they are cached and shared by all runs.",
        default_from=lambda options: options.learn_unsupervised_pretraining,
        read_if=Condition(lambda options: options.add_unsupervised_pretraining, "True"),
    )
    learn_unsupervised_pretraining: bool = option(
        False, "Pre-train again even if there are cached weights, and replace them.", identity=False
    )
    pretraining_method: str = option(
        "deepcluster", "Method of unsupervised pre-training.", type=one_of(PRETRAINERS), read_if=_ON
    )

    def check(self, options: OptionValues) -> None:
        if self.learn_unsupervised_pretraining and not self.add_unsupervised_pretraining:
            raise UserError(
                "--learn-unsupervised-pretraining has no effect here; it needs "
                "--add-unsupervised-pretraining True"
            )


def require_pretraining(options: OptionValues, requester: str) -> None:
    """Raises UserError where the run has no pre-training, which `requester` needs.

    requester: a flag, for the message."""
    if not options.add_unsupervised_pretraining:
        raise UserError(
            f"{requester} needs features from unsupervised pre-training: add "
            "--add-unsupervised-pretraining"
        )


def pretrainer_name(options: OptionValues) -> str | None:
    """The key of the pre-training that the options select; None for none."""
    is_on = options.add_unsupervised_pretraining or options.learn_unsupervised_pretraining
    return options.pretraining_method if is_on else None


REGISTRY = Registry(
    PRETRAINERS, pretrainer_name, "--add-unsupervised-pretraining --pretraining-method {}"
)
