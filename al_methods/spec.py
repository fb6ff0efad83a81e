"""What an entry of the method registry contains."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from training.network_outputs import option_groups_of
from utils.options.option import Component, OptionGroup


@dataclass(frozen=True)
class Method(Component):
    """An acquisition method, an entry of METHODS.

    pick: labels, budget, rng, the inputs that the method needs, and its option groups, all by
    name -> indices of the images to label next, in order of choice.
    needs: names of the inputs, as in training.network_outputs.OUTPUT_FUNCTIONS, or a function of
    the method's options that returns them.  `pretrained_features` are the features of the network
    after pre-training, before it is trained on any label.
    substitutes: input -> another that replaces it in a run that has the other, unless the method
    needs both.
    needs_no_labels: whether the method can choose without any label."""

    pick: Callable[..., np.ndarray]
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    substitutes: dict[str, str] = field(default_factory=dict)
    needs_no_labels: bool = False

    def substitutes_for(self, needs: tuple[str, ...]) -> dict[str, str]:
        """The substitutes of these needs; none where one of them is needed itself."""
        used = {name: other for name, other in self.substitutes.items() if name in needs}
        return {} if set(used.values()) & set(needs) else used

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """The option groups of the entry's functions and of what computes its inputs."""
        names = () if callable(self.needs) else self.needs
        return tuple(dict.fromkeys([*super().groups(), *option_groups_of(names)]))
