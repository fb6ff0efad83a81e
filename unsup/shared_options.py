"""Options that all pre-training methods read."""

from dataclasses import dataclass
from typing import Any

from utils.options.converters import MAX_COUNT, make_number_type, positive_float, positive_integer
from utils.options.option import OptionGroup, option

DIVERGENCE_ADVICE = "use a smaller --pretraining-lr"


@dataclass(frozen=True)
class PretrainingLoopOptions(OptionGroup):
    """Options that every pre-training method reads."""

    section = "unsupervised pre-training"
    pretraining_epochs: int = option(
        400, "Number of epochs of pre-training.", type=positive_integer, metavar="N"
    )
    pretraining_lr: float = option(0.02, "Learning rate of pre-training.", type=positive_float)
    pretraining_batch_size: int = option(
        128,
        "Number of images per batch of pre-training.",
        type=make_number_type(int, at_least=2, sanity_limit=MAX_COUNT),
        metavar="N",
    )


def divergence_context(epoch: int) -> dict[str, Any]:
    """Place and advice for the message of NotFinite, as keyword arguments.  epoch: from 0."""
    return {"location": f"pre-training, epoch {epoch + 1}", "advice": DIVERGENCE_ADVICE}
