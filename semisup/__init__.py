"""Training on the unlabeled images: one algorithm a file, one row each in ALGORITHMS."""

from semisup import ceal, fixmatch, lp, supervised
from semisup.spec import Algorithm
from utils.errors import UserError
from utils.options.option import Choice, Option, Part

ALGORITHMS = {
    "supervised": supervised.ALGORITHM,
    "lp": lp.ALGORITHM,
    "ceal": ceal.ALGORITHM,
    "fixmatch": fixmatch.ALGORITHM,
}


def switch_name(name: str) -> str:
    """The name of the option that asks for an algorithm."""
    return f"add_{name}"


def _list_enabled_algorithms(args) -> list[str]:
    names = [name for name, row in ALGORITHMS.items() if row.title]
    return [name for name in names if getattr(args, switch_name(name))]


def algorithm_name(args) -> str:
    """The key of the algorithm that the options choose."""
    plain = next(name for name, row in ALGORITHMS.items() if not row.title)
    return (_list_enabled_algorithms(args) or [plain])[0]


def _check(args) -> None:
    flags = [f"--add-{name.replace('_', '-')}" for name in _list_enabled_algorithms(args)]
    if len(flags) > 1:
        raise UserError(f"{' and '.join(flags)} exclude each other: give one")


def make_switch_groups() -> list[Part]:
    """A part for each algorithm that is asked for, with the option that does it.

    One that is off is no part of a run's identity, so that a new algorithm moves no old run."""
    return [
        Part(row.title, options=(_make_switch(name, row),), check=_check)
        for name, row in ALGORITHMS.items()
        if row.title
    ]


def _make_switch(name: str, row: Algorithm) -> Option:
    on = (lambda args: getattr(args, switch_name(name)), "True")
    return Option(switch_name(name), False, row.summary, kind=bool, when=on)


CHOICE = Choice("training", ALGORITHMS, algorithm_name, "--add-{}")

__all__ = ["ALGORITHMS", "Algorithm"]
