"""The state of a run: everything that changes during it, except the network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from data.pool import Pool, ReadOnlyArrays, Targets
from utils.arrays import as_read_only

SET_ASIDE = -2  # the answer for an image of none of the classes


def _no_images() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class SecondLooks(ReadOnlyArrays):
    """Labeled images that are shown again, because their labels may be wrong.

    images: (k,) int64, the most doubtful first.
    suggested: (k,) int64, the class that the other labels suggest.
    examples: (k, m) int64, labeled images to compare each with, -1 for none."""

    images: np.ndarray = field(default_factory=_no_images)
    suggested: np.ndarray = field(default_factory=_no_images)
    examples: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class QueryRecord(ReadOnlyArrays):
    """What one cycle has queried.

    queried: (n,) int64, the images; answers: (n,) int64, their classes, -1 where a person could not
    tell, SET_ASIDE where the image is of none of the classes, or None until there are answers.
    source: digest of the file that the answers were read from, "" for labels of the data set.
    second_looks: labeled images that were shown again with these queries."""

    queried: np.ndarray
    answers: np.ndarray | None = None
    source: str = ""
    second_looks: SecondLooks = field(default_factory=SecondLooks)


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
    class_names: of the network's outputs, which may be more than the data set has.
    predictions: of the network of each earlier cycle, (N,) classes or None; only where an audit
    needs them (experiment.estimates).
    second_looks: labeled images that are shown again with the queries."""

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
    predictions: tuple[np.ndarray | None, ...] = ()
    second_looks: SecondLooks = field(default_factory=SecondLooks)

    def __post_init__(self) -> None:
        super().__post_init__()
        carry_over = {name: as_read_only(array) for name, array in self.carry_over.items()}
        object.__setattr__(self, "carry_over", carry_over)
        predictions = (None if one is None else as_read_only(one) for one in self.predictions)
        object.__setattr__(self, "predictions", tuple(predictions))

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
        queried = [record.queried for record in self.history[: self.num_answered_cycles]]
        images = np.concatenate([_no_images(), *queried])
        return images[self.pool.labels[images] < 0]

    @property
    def set_aside_indices(self) -> np.ndarray:
        """(k,) int64, the images that are of none of the classes."""
        images, answers = self.answers_so_far()
        return images[answers == SET_ASIDE]

    def answers_so_far(self) -> tuple[np.ndarray, np.ndarray]:
        """The images (n,) whose answers are known, and the answers (n,), in their order."""
        records = self.history[: self.num_answered_cycles]
        answers = [record.answers for record in records if record.answers is not None]
        images = [record.queried for record in records if record.answers is not None]
        return np.concatenate([_no_images(), *images]), np.concatenate([_no_images(), *answers])

    @property
    def next_record(self) -> QueryRecord | None:
        """What the next cycle has queried before the run went back; None where it has not come so
        far."""
        later = self.history[self.cycle + 1 :]
        return later[0] if later else None

    @property
    def second_look_images(self) -> np.ndarray:
        """(k,) int64, the images that have been shown again in any cycle."""
        return np.concatenate([_no_images(), *(one.second_looks.images for one in self.history)])

    @property
    def awaits_second_looks(self) -> bool:
        """Whether images are shown again whose second answers are not in the pool yet."""
        now = self.history[self.cycle] if self.cycle < len(self.history) else None
        is_first_time = self.queried is not None and (now is None or now.answers is None)
        return is_first_time and len(self.second_looks) > 0

    def reveal_labels(self, answers: np.ndarray, source: str = "") -> "State":
        """The labels (n,) of the queried images are known, except those that are -1.

        source: as in QueryRecord.
        Raises ValueError where no image is queried."""
        if self.queried is None:
            raise ValueError("labels without a query")
        known = answers >= 0
        pool = self.pool.reveal_labels(self.queried[known], answers[known])
        record = QueryRecord(self.queried, answers, source, self.second_looks)
        history = (*self.history[: self.cycle], record, *self.history[self.cycle + 1 :])
        return replace(self, pool=pool, queried=None, history=history)

    def amend_labels(self, second_answers: Mapping[int, int]) -> "State":
        """The second answers replace the labels of these images, from this cycle on.

        second_answers: image -> class, SET_ASIDE, or -1 where the person cannot tell any more."""
        if not second_answers:
            return self
        history = list(self.history)
        for cycle, record in enumerate(history):
            if record.answers is None:
                continue
            pairs = zip(record.queried.tolist(), record.answers.tolist(), strict=True)
            answers = np.array([second_answers.get(image, now) for image, now in pairs])
            if (answers != record.answers).any():
                history[cycle] = replace(record, answers=answers.astype(np.int64))
        return replace(self, pool=self.pool.amend_labels(second_answers), history=tuple(history))

    def after_epoch(self, steps: int, loss: float) -> "State":
        """One more epoch is done, of `steps` steps and this mean loss."""
        return replace(self, epoch=self.epoch + 1, steps=self.steps + steps, loss=loss)

    def next_cycle(
        self,
        queried: np.ndarray,
        carry_over: dict[str, np.ndarray],
        second_looks: SecondLooks | None = None,
    ) -> "State":
        """The start of the next cycle, which waits for the labels of `queried` (n,).

        second_looks: what is shown again with them."""
        return State(
            self.pool,
            queried=queried,
            cycle=self.cycle + 1,
            carry_over=carry_over,
            history=self.history,
            class_names=self.class_names,
            predictions=self.predictions,
            second_looks=second_looks or SecondLooks(),
        )

    def add_predictions(self, predicted: np.ndarray) -> "State":
        """The predictions (N,) of the network of the cycle before this one are known."""
        missing = self.cycle - 1 - len(self.predictions)
        earlier = (*self.predictions, *[None] * missing)
        return replace(self, predictions=(*earlier, predicted))

    def back_to(self, cycle: int) -> "State":
        """The start of an earlier cycle, which queries the same images again; later cycles will
        query what they have queried before."""
        history = self.history
        if self.queried is not None and len(history) == self.cycle:
            history = (*history, QueryRecord(self.queried, second_looks=self.second_looks))
        state = State.initial(history[0].queried, len(self.pool.labels), self.class_names)
        for number, record in enumerate(history[:cycle], start=1):
            assert record.answers is not None  # the pool has the labels of this cycle
            revealed = state.reveal_labels(record.answers, record.source)
            following = history[number]
            state = revealed.next_cycle(following.queried, {}, following.second_looks)
        return replace(state, history=history, predictions=self.predictions[:cycle])


def to_dict(state: State | Pool | Targets | QueryRecord | SecondLooks) -> dict[str, Any]:
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
    parts["history"] = tuple(
        QueryRecord(**_with_second_looks(record)) for record in parts.get("history", ())
    )
    parts = _with_second_looks(parts)
    parts["class_names"] = tuple(parts.get("class_names", ()))
    parts["predictions"] = tuple(parts.get("predictions", ()))
    return State(**parts)


def _with_second_looks(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts with an object of second looks, which earlier versions do not have."""
    return {**parts, "second_looks": SecondLooks(**parts.get("second_looks", {}))}


def _current_names(parts: dict[str, Any]) -> dict[str, Any]:
    return {_EARLIER_NAMES.get(name, name): value for name, value in parts.items()}


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, Pool | Targets | QueryRecord | SecondLooks):
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
