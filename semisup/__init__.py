"""Training on the unlabeled images: one algorithm a file, one row each in ALGORITHMS."""

from semisup import ceal, fixmatch, lp, supervised
from semisup.spec import Algorithm
from utils.errors import UserError
from utils.options.option import Choice, Option, Part

ALGORITHMS = {
    "supervised": supervised.ROW,
    "lp": lp.ROW,
    "ceal": ceal.ROW,
    "fixmatch": fixmatch.ROW,
}


def switch(name: str) -> str:
    """The name of the option that asks for an algorithm."""
    return f"add_{name}"


def _asked_for(args) -> list[str]:
    names = [name for name, row in ALGORITHMS.items() if row.title]
    return [name for name in names if getattr(args, switch(name))]


def algorithm_of(args) -> str:
    """The key of the algorithm that the options choose."""
    plain = next(name for name, row in ALGORITHMS.items() if not row.title)
    return (_asked_for(args) or [plain])[0]


def _check(args) -> None:
    flags = [f"--add-{name.replace('_', '-')}" for name in _asked_for(args)]
    if len(flags) > 1:
        raise UserError(f"{' and '.join(flags)} exclude each other: give one")


def switches() -> list[Part]:
    """A part for each algorithm that is asked for, with the option that does it.

    One that is off is no part of a run's identity, so that a new algorithm moves no old run."""
    return [
        Part(row.title, options=(_switch_of(name, row),), check=_check)
        for name, row in ALGORITHMS.items()
        if row.title
    ]


def _switch_of(name: str, row: Algorithm) -> Option:
    on = (lambda args: getattr(args, switch(name)), "True")
    return Option(switch(name), False, row.summary, kind=bool, when=on)


CHOICE = Choice("training", ALGORITHMS, algorithm_of, "--add-{}")

__all__ = ["ALGORITHMS", "Algorithm"]
