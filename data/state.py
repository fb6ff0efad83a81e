"""The state of a run: everything that changes during it, except the network."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from data.pool import Pool, ReadOnlyArrays, Targets
from utils.arrays import as_read_only


@dataclass(frozen=True)
class State(ReadOnlyArrays):
    """How far a run has come.  Frozen: each step takes a state and returns the next one.

    queried: (n,) int64, the images whose labels the run waits for, or None.
    cycle: the current one; epoch, steps: those of this cycle that are done.
    loss: the mean loss of the last epoch; evaluated: whether this cycle has been evaluated.
    targets: what the cycle trains on, None while the run waits for labels.
    carry_over: what the network of the previous cycle left for this one, arrays by name."""

    pool: Pool
    queried: np.ndarray | None = None
    cycle: int = 0
    epoch: int = 0
    steps: int = 0
    loss: float = math.nan
    evaluated: bool = False
    targets: Targets | None = None
    carry_over: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        carry_over = {name: as_read_only(array) for name, array in self.carry_over.items()}
        object.__setattr__(self, "carry_over", carry_over)

    @staticmethod
    def initial(queried: np.ndarray, size: int) -> "State":
        """The start: an unlabeled pool of `size` images, of which `queried` (n,) are queried."""
        return State(Pool.make_unlabeled(size), queried=np.asarray(queried, dtype=np.int64))

    def reveal_labels(self, answers: np.ndarray) -> "State":
        """The labels (n,) of the queried images are known.

        Raises ValueError where no image is queried."""
        if self.queried is None:
            raise ValueError("labels without a query")
        return replace(self, pool=self.pool.reveal_labels(self.queried, answers), queried=None)

    def after_epoch(self, steps: int, loss: float) -> "State":
        """One more epoch is done, of `steps` steps and this mean loss."""
        return replace(self, epoch=self.epoch + 1, steps=self.steps + steps, loss=loss)

    def next_cycle(self, queried: np.ndarray, carry_over: dict[str, np.ndarray]) -> "State":
        """The start of the next cycle, which waits for the labels of `queried` (n,)."""
        return State(self.pool, queried=queried, cycle=self.cycle + 1, carry_over=carry_over)


def to_dict(state: State | Pool | Targets) -> dict[str, Any]:
    """A state as a dict of plain types and tensors, for a checkpoint."""
    return {part.name: _to_plain_value(getattr(state, part.name)) for part in fields(state)}


# Names of fields in checkpoints of earlier versions.
_EARLIER_NAMES = {
    "asked": "queried",
    "judged": "evaluated",
    "carried": "carry_over",
    "order": "labeled_order",
    "scores": "soft_labels",
    "odds": "sampling_weights",
}


def from_dict(plain: dict[str, Any]) -> State:
    """The state that `to_dict` wrote, in this version or an earlier one."""
    parts = _current_names({name: _to_numpy_value(value) for name, value in plain.items()})
    targets = parts["targets"]
    parts["pool"] = Pool(**_current_names(parts["pool"]))
    parts["targets"] = None if targets is None else Targets(**_current_names(targets))
    return State(**parts)


def _current_names(parts: dict[str, Any]) -> dict[str, Any]:
    return {_EARLIER_NAMES.get(name, name): value for name, value in parts.items()}


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, Pool | Targets):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _to_plain_value(part) for key, part in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def _to_numpy_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_numpy_value(part) for key, part in value.items()}
    return value.numpy() if isinstance(value, torch.Tensor) else value
