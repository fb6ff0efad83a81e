"""What a row of the method registry holds."""

from collections.abc import Callable
from dataclasses import dataclass

from utils.options.declare import Row


@dataclass(frozen=True)
class Method(Row):
    """A row of METHODS.

    pick: labels, budget, rng, what the method needs and its options -> picks, in order of choice;
    needs: names of utils.training.outputs.NEEDS, computed only where a method has them."""

    pick: Callable
    needs: tuple[str, ...] = ()
