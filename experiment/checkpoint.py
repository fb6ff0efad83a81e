"""A checkpoint is one plain dict of tensors and plain types, whole or not there, and checked.

Where one follows another, the one before stays, and is used when the newer is damaged.
"""

import copy
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import torch

from utils.console import log
from utils.errors import UserError
from utils.files import os_errors_refused, write_atomically
from utils.signals import StoppedBySignal, defer_signals

DEFAULT_CHECKPOINT_EPOCHS = 25  # epochs between checkpoints, unless given,
MAX_SAVING_TIME_SHARE = 0.02  # and seldomer where they would take a larger part of the time
MIN_SNAPSHOT_SECONDS = 1.0  # seconds at least between two states that are kept for a signal
CHECKSUM_MARK = b"\nsha256:"  # between the zip archive and its checksum; zip readers skip both


class CorruptCheckpoint(UserError):
    """A file whose checksum is not that of its contents."""


def save_checkpoint(path: Path, checkpoint: dict, previous: Path | None = None) -> None:
    """One plain dict, written atomically, its checksum behind it; older: as write_atomically's."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    content = buffer.getvalue()
    seal = CHECKSUM_MARK + hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content + seal, previous)


def load_checkpoint(path: Path) -> dict:
    """Raises Damaged, and UserError where it cannot be read or is of another kind."""
    with os_errors_refused(path, "read"):
        content, _, checksum = path.read_bytes().rpartition(CHECKSUM_MARK)
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise CorruptCheckpoint(f"{path} is damaged: delete it, and it is made anew")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # many kinds; torch's own words advise to load it without a check
        state = None
    if not isinstance(state, dict):
        raise UserError(f"{path} is whole but no checkpoint: move it away, and it is made anew")
    return state


def previous_checkpoint_path(path: Path) -> Path:
    """Where the checkpoint before the one at `path` stays."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


class Checkpoints:
    """The checkpoints of a folder that is held: the last two, and what a signal would save.

    In a `with`: where Stopped ends it, what was kept last is saved."""

    def __init__(self, path: Path, before_save: Callable[[dict], None]):
        """before: called with each state before it is written."""
        self.path, self.before_save = path, before_save
        self._snapshot, self._save_seconds = None, 0.0
        self._last_save_time = time.monotonic()
        self._next_snapshot_time = self._last_save_time + MIN_SNAPSHOT_SECONDS

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is StoppedBySignal and self._snapshot:
            with defer_signals():
                self.save_next(self._snapshot)

    def is_due(self, epochs_done: int, interval: int | None) -> bool:
        """Is it time, after so many epochs?  every: 0 for never, None for the default."""
        if interval is None:
            spared = time.monotonic() - self._last_save_time
            return (
                epochs_done % DEFAULT_CHECKPOINT_EPOCHS == 0
                and self._save_seconds <= MAX_SAVING_TIME_SHARE * spared
            )
        return interval > 0 and epochs_done % interval == 0

    def save_next(self, state: dict) -> None:
        """A checkpoint that follows the last one, which stays beside it."""
        begin = time.monotonic()
        self._snapshot = state  # should a signal come before it is written
        self.before_save(state)
        save_checkpoint(self.path, state, previous_checkpoint_path(self.path))
        self._snapshot, self._last_save_time = None, time.monotonic()
        self._save_seconds, self._next_snapshot_time = (
            self._last_save_time - begin,
            self._last_save_time + MIN_SNAPSHOT_SECONDS,
        )

    def take_snapshot(self, state: Callable[[], dict], force: bool = False) -> None:
        """Remember a copy of what `state`() is, for a signal: now, or so seldom that it costs no
        more than a hundredth of the time."""
        begin = time.monotonic()
        if force or begin >= self._next_snapshot_time:
            self._snapshot = copy.deepcopy(state())
            end = time.monotonic()
            self._next_snapshot_time = end + max(MIN_SNAPSHOT_SECONDS, 100 * (end - begin))

    def load_latest(self) -> dict | None:
        """The newest checkpoint that is whole, put at its path; None where there is none at all.

        Raises Damaged where there are, and none is whole."""
        path, damaged = self.path, False
        # Killed between two renames where there are no hard links, the newest is a leftover.
        leftovers = [] if path.exists() else sorted(path.parent.glob(f".{path.name}.*"))
        for place in filter(Path.exists, (path, *leftovers, previous_checkpoint_path(path))):
            try:
                state = load_checkpoint(place)
            except CorruptCheckpoint:
                damaged |= place not in leftovers
                continue
            if damaged:
                log.warning("%s is damaged: going on from the checkpoint before it", path)
            if place != path:
                with os_errors_refused(path):
                    place.replace(path)
            return state
        if damaged:
            raise CorruptCheckpoint(
                f"{path} is damaged, and there is no whole one: delete it to start anew"
            )
        return None

    def delete_all(self) -> None:
        """Remove them."""
        for place in (previous_checkpoint_path(self.path), self.path):
            with os_errors_refused(place, "removed"):
                place.unlink(missing_ok=True)
