"""The state of a run: everything that changes during it, except the network."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from data.pool import Pool, ReadOnlyArrays, Targets
from utils.arrays import as_read_only

SET_ASIDE = -2  # the answer for an image of none of the classes


@dataclass(frozen=True)
class QueryRecord(ReadOnlyArrays):
    """What one cycle has queried.

    queried: (n,) int64, the images; answers: (n,) int64, their classes, -1 where a person could not
    tell, SET_ASIDE where the image is of none of the classes, or None until there are answers.
    source: digest of the file that the answers were read from, "" for labels of the data set."""

    queried: np.ndarray
    answers: np.ndarray | None = None
    source: str = ""


@dataclass(frozen=True)
class State(ReadOnlyArrays):
    """How far a run has come.  Frozen: each step takes a state and returns the next one.

    queried: (n,) int64, the images whose labels the run waits for, or None.
    cycle: the current one; epoch, steps: those of this cycle that are done.
    loss: the mean loss of the last epoch; evaluated: whether this cycle has been evaluated.
    targets: what the cycle trains on, None while the run waits for labels.
    carry_over: what the network of the previous cycle left for this one, arrays by name.
    history: what each cycle has queried, in order.  It has later cycles than the current one where
    the run has gone back to correct labels.
    class_names: of the network's outputs, which may be more than the data set has."""

    pool: Pool
    queried: np.ndarray | None = None
    cycle: int = 0
    epoch: int = 0
    steps: int = 0
    loss: float = math.nan
    evaluated: bool = False
    targets: Targets | None = None
    carry_over: dict[str, np.ndarray] = field(default_factory=dict)
    history: tuple[QueryRecord, ...] = ()
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        carry_over = {name: as_read_only(array) for name, array in self.carry_over.items()}
        object.__setattr__(self, "carry_over", carry_over)

    @staticmethod
    def initial(queried: np.ndarray, size: int, class_names: tuple[str, ...] = ()) -> "State":
        """The start: an unlabeled pool of `size` images, of which `queried` (n,) are queried."""
        indices = np.asarray(queried, dtype=np.int64)
        return State(Pool.make_unlabeled(size), queried=indices, class_names=class_names)

    @property
    def num_answered_cycles(self) -> int:
        """The number of cycles whose labels are in the pool."""
        return self.cycle + (self.queried is None)

    @property
    def skip_indices(self) -> np.ndarray:
        """(k,) int64, the images without a label because a person could not tell their class, or
        because they are of none of the classes."""
        images, _ = self.answers_so_far()
        return images[self.pool.labels[images] < 0]

    @property
    def set_aside_indices(self) -> np.ndarray:
        """(k,) int64, the images that are of none of the classes."""
        images, answers = self.answers_so_far()
        return images[answers == SET_ASIDE]

    def answers_so_far(self) -> tuple[np.ndarray, np.ndarray]:
        """The images (n,) whose answers are known, and the answers (n,), in their order."""
        records = self.history[: self.num_answered_cycles]
        empty = np.empty(0, dtype=np.int64)
        answers = [record.answers for record in records if record.answers is not None]
        images = [record.queried for record in records if record.answers is not None]
        return np.concatenate([empty, *images]), np.concatenate([empty, *answers])

    @property
    def next_queried(self) -> np.ndarray | None:
        """The images (n,) that the next cycle has queried before the run went back; None where it
        has not come so far."""
        later = self.history[self.cycle + 1 :]
        return later[0].queried if later else None

    def reveal_labels(self, answers: np.ndarray, source: str = "") -> "State":
        """The labels (n,) of the queried images are known, except those that are -1.

        source: as in QueryRecord.
        Raises ValueError where no image is queried."""
        if self.queried is None:
            raise ValueError("labels without a query")
        known = answers >= 0
        pool = self.pool.reveal_labels(self.queried[known], answers[known])
        record = QueryRecord(self.queried, answers, source)
        history = (*self.history[: self.cycle], record, *self.history[self.cycle + 1 :])
        return replace(self, pool=pool, queried=None, history=history)

    def after_epoch(self, steps: int, loss: float) -> "State":
        """One more epoch is done, of `steps` steps and this mean loss."""
        return replace(self, epoch=self.epoch + 1, steps=self.steps + steps, loss=loss)

    def next_cycle(self, queried: np.ndarray, carry_over: dict[str, np.ndarray]) -> "State":
        """The start of the next cycle, which waits for the labels of `queried` (n,)."""
        return State(
            self.pool,
            queried=queried,
            cycle=self.cycle + 1,
            carry_over=carry_over,
            history=self.history,
            class_names=self.class_names,
        )

    def back_to(self, cycle: int) -> "State":
        """The start of an earlier cycle, which queries the same images again; later cycles will
        query what they have queried before."""
        history = self.history
        if self.queried is not None and len(history) == self.cycle:
            history = (*history, QueryRecord(self.queried))
        state = State.initial(history[0].queried, len(self.pool.labels), self.class_names)
        for number, record in enumerate(history[:cycle], start=1):
            assert record.answers is not None  # the pool has the labels of this cycle
            revealed = state.reveal_labels(record.answers, record.source)
            state = revealed.next_cycle(history[number].queried, {})
        return replace(state, history=history)


def to_dict(state: State | Pool | Targets | QueryRecord) -> dict[str, Any]:
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
    parts["history"] = tuple(QueryRecord(**record) for record in parts.get("history", ()))
    parts["class_names"] = tuple(parts.get("class_names", ()))
    return State(**parts)


def _current_names(parts: dict[str, Any]) -> dict[str, Any]:
    return {_EARLIER_NAMES.get(name, name): value for name, value in parts.items()}


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, Pool | Targets | QueryRecord):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_to_plain_value(part) for part in value]
    if isinstance(value, dict):
        return {key: _to_plain_value(part) for key, part in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def _to_numpy_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_numpy_value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_to_numpy_value(part) for part in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value
