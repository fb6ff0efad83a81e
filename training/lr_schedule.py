"""The learning rate over the epochs of a cycle: Mean Teacher's (Tarvainen & Valpola, NIPS 2017),
a linear ramp-up, then half a cosine."""

import math

from utils.errors import UserError
from utils.options.converters import (
    non_negative_float,
    non_negative_integer,
    positive_float,
    positive_integer,
)
from utils.options.option import Option, Part


def learning_rate(
    epoch: float,
    *,
    lr: float = 0.2,
    initial_lr: float = 0.0,
    rampup: int = 0,
    rampdown: int = 210,
) -> float:
    """The rate at a fractional epoch; rampup, rampdown: in epochs."""
    if epoch < rampup:
        return initial_lr + (lr - initial_lr) * epoch / rampup
    return lr * 0.5 * (math.cos(math.pi * epoch / rampdown) + 1)


def _check(args) -> None:
    if args.lr_rampdown_epochs < args.epochs:
        raise UserError(
            f"--lr-rampdown-epochs {args.lr_rampdown_epochs} is below --epochs {args.epochs}: "
            f"give at least {args.epochs}, or leave it out"
        )
    if args.lr_rampup > args.epochs:
        raise UserError(f"--lr-rampup {args.lr_rampup} is above --epochs {args.epochs}")


SCHEDULE = Part(
    "training",
    options=(
        Option("epochs", 200, "epochs in each cycle", kind=positive_integer, metavar="N"),
        Option("lr", 0.2, "learning rate", kind=positive_float, flags=("--lr", "--learning-rate")),
        Option(
            "initial_lr",
            0.0,
            "rate at the start of the ramp-up",
            kind=non_negative_float,
            when=(lambda args: args.lr_rampup > 0, "--lr-rampup above 0"),
        ),
        Option(
            "lr_rampup",
            0,
            "epochs of linear ramp-up to --lr",
            kind=non_negative_integer,
            keyword="rampup",
            metavar="N",
        ),
        Option(
            "lr_rampdown_epochs",
            210,
            "epochs in which the cosine ramp-down would reach zero, at least --epochs",
            kind=positive_integer,
            keyword="rampdown",
            metavar="N",
            shown="210; in this proportion to other --epochs",
            derive=lambda args: args.epochs * 21 // 20,
        ),
    ),
    check=_check,
)
