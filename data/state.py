"""The state of a run: all that changes while it goes on, but for the network."""

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from data.pool import Pool, ReadOnlyArrays, Targets
from utils.arrays import as_read_only


@dataclass(frozen=True)
class State(ReadOnlyArrays):
    """Where a run has come to.  Frozen: a step takes one and gives the next.

    cycle: the one that is being done; epoch, steps: of it, done so far; loss: the mean of the last
    epoch; judged: is it evaluated?; asked: (n,) int64, the images whose labels it waits for, or
    None; targets: what it trains on, None while it waits; carried: what the last cycle's network
    left behind for this one, arrays by name."""

    pool: Pool
    queried: np.ndarray | None = None
    cycle: int = 0
    epoch: int = 0
    steps: int = 0
    loss: float = math.nan
    evaluated: bool = False
    targets: Targets | None = None
    carry_over: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        carried = {name: as_read_only(array) for name, array in self.carry_over.items()}
        object.__setattr__(self, "carried", carried)

    @staticmethod
    def initial(queried: np.ndarray, size: int) -> "State":
        """The start: a pool of `size` images, of which the `first` are asked for."""
        return State(Pool.make_unlabeled(size), queried=np.asarray(queried, dtype=np.int64))

    def reveal_labels(self, answers: np.ndarray) -> "State":
        """The labels (n,) of what was asked for are known."""
        return replace(self, pool=self.pool.reveal_labels(self.queried, answers), queried=None)

    def after_epoch(self, steps: int, loss: float) -> "State":
        """One epoch of so many steps is done."""
        return replace(self, epoch=self.epoch + 1, steps=self.steps + steps, loss=loss)

    def next_cycle(self, queried: np.ndarray, carry_over: dict[str, np.ndarray]) -> "State":
        """This cycle is over; the next one waits for the labels of `asked`."""
        return State(self.pool, queried=queried, cycle=self.cycle + 1, carry_over=carry_over)


def to_dict(state) -> dict:
    """A state as a dict of plain types and tensors, for a checkpoint."""
    return {part.name: _to_plain_value(getattr(state, part.name)) for part in fields(state)}


# Names that fields had in checkpoints of earlier versions.
_EARLIER_NAMES = {
    "asked": "queried",
    "judged": "evaluated",
    "carried": "carry_over",
    "order": "labeled_order",
    "scores": "soft_labels",
    "odds": "sampling_weights",
}


def from_dict(plain: dict) -> State:
    """The state that `to_dict` made, in this version or an earlier one."""
    parts = _current_names({name: _to_numpy_value(value) for name, value in plain.items()})
    targets = parts["targets"]
    parts["pool"] = Pool(**_current_names(parts["pool"]))
    parts["targets"] = None if targets is None else Targets(**_current_names(targets))
    return State(**parts)


def _current_names(parts: dict) -> dict:
    return {_EARLIER_NAMES.get(name, name): value for name, value in parts.items()}


def _to_plain_value(value):
    if isinstance(value, Pool | Targets):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _to_plain_value(part) for key, part in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def _to_numpy_value(value):
    if isinstance(value, dict):
        return {key: _to_numpy_value(part) for key, part in value.items()}
    return value.numpy() if isinstance(value, torch.Tensor) else value
