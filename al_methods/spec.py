"""What a row of the method registry holds."""

from collections.abc import Callable
from dataclasses import dataclass, field

from training.network_outputs import option_groups_of
from utils.options.option import Component, OptionGroup


@dataclass(frozen=True)
class Method(Component):
    """A row of METHODS.

    pick: labels, budget, rng, what the method needs and its options -> picks, in order of choice;
    needs: names of what experiment.Experiment.outputs gives, or a function that gives them;
    `pretrained_features` are those of the network after pre-training and before any label.
    rather: what is taken in place of a need where the run has it, and does not need it besides.
    first: can it choose without a single label?"""

    pick: Callable
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    substitutes: dict[str, str] = field(default_factory=dict)
    needs_no_labels: bool = False

    def substitutes_for(self, needs: tuple[str, ...]) -> dict[str, str]:
        """`rather`, as far as it is of these needs."""
        found = {name: other for name, other in self.substitutes.items() if name in needs}
        return {} if set(found.values()) & set(needs) else found

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """Those of its functions, and of what computes its needs."""
        fixed = () if callable(self.needs) else self.needs
        return tuple(dict.fromkeys([*super().groups(), *option_groups_of(fixed)]))
