"""The learning rate over the epochs of a cycle: a linear ramp-up, then a cosine ramp-down, as in
Mean Teacher (Tarvainen & Valpola, NIPS 2017)."""

import math
from dataclasses import dataclass

from utils.errors import UserError
from utils.options.converters import (
    non_negative_float,
    non_negative_integer,
    positive_float,
    positive_integer,
)
from utils.options.option import Condition, OptionGroup, OptionValues, option


@dataclass(frozen=True)
class ScheduleOptions(OptionGroup):
    """The length of a cycle and its learning rate."""

    section = "training"
    epochs: int = option(
        200, "Number of training epochs per cycle.", type=positive_integer, metavar="N"
    )
    lr: float = option(
        0.2,
        "Learning rate after the ramp-up.",
        type=positive_float,
        flags=("--lr", "--learning-rate"),
    )
    initial_lr: float = option(
        0.0,
        "Learning rate at the start of the ramp-up.",
        type=non_negative_float,
        read_if=Condition(lambda options: options.lr_rampup > 0, "--lr-rampup above 0"),
    )
    lr_rampup: int = option(
        0,
        "Number of epochs over which the learning rate rises linearly to --lr.",
        type=non_negative_integer,
        metavar="N",
    )
    lr_rampdown_epochs: int = option(
        210,
        "Number of epochs after which the cosine ramp-down would reach zero, at least --epochs.",
        type=positive_integer,
        metavar="N",
        default_text="210; in proportion for other --epochs",
        default_from=lambda options: options.epochs * 21 // 20,
    )

    def check(self, options: OptionValues) -> None:
        if self.lr_rampdown_epochs < self.epochs:
            raise UserError(
                f"--lr-rampdown-epochs {self.lr_rampdown_epochs} is below --epochs {self.epochs}: "
                f"use at least {self.epochs}, or omit it"
            )
        if self.lr_rampup > self.epochs:
            raise UserError(
                f"--lr-rampup {self.lr_rampup} is above --epochs {self.epochs}: use at most "
                f"{self.epochs}"
            )


def learning_rate(epoch: float, schedule: ScheduleOptions) -> float:
    """The learning rate at a fractional epoch of the cycle."""
    lr, rampup = schedule.lr, schedule.lr_rampup
    if epoch < rampup:
        return schedule.initial_lr + (lr - schedule.initial_lr) * epoch / rampup
    return lr * 0.5 * (math.cos(math.pi * epoch / schedule.lr_rampdown_epochs) + 1)
