"""Training on the unlabeled images: one algorithm per file, one entry each in ALGORITHMS."""

from semisup import ceal, fixmatch, lp
from semisup.spec import SUPERVISED, Algorithm
from utils.errors import UserError
from utils.options.option import OptionValues
from utils.options.schema import Registry

ALGORITHMS = {
    "supervised": SUPERVISED,
    "lp": lp.ALGORITHM,
    "ceal": ceal.ALGORITHM,
    "fixmatch": fixmatch.ALGORITHM,
}
DEFAULT = "supervised"


def switch_name(name: str) -> str:
    """The name of the option that selects an algorithm, which the algorithm's options declare."""
    return f"add_{name}"


def _list_enabled_algorithms(options: OptionValues) -> list[str]:
    names = [name for name in ALGORITHMS if name != DEFAULT]
    return [name for name in names if getattr(options, switch_name(name))]


def algorithm_name(options: OptionValues) -> str:
    """The key of the algorithm that the options select."""
    return (_list_enabled_algorithms(options) or [DEFAULT])[0]


def check_single_algorithm(options: OptionValues) -> None:
    """Raises UserError where more than one algorithm is selected."""
    flags = [f"--add-{name.replace('_', '-')}" for name in _list_enabled_algorithms(options)]
    if len(flags) > 1:
        raise UserError(f"{' and '.join(flags)} exclude each other: use one of them")


REGISTRY = Registry(ALGORITHMS, algorithm_name, "--add-{}")

__all__ = ["ALGORITHMS", "Algorithm"]
