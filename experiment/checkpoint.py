"""Checkpoints: one plain dict of tensors and plain types, written atomically, with a checksum.

The last two checkpoints are kept; if the newer one is damaged, the older one is used.
"""

import copy
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from utils.console import log
from utils.errors import UserError
from utils.files import os_errors_refused, write_atomically
from utils.signals import StoppedBySignal, defer_signals

# Number of epochs between checkpoints by default, and more where saving would take a larger share
# of the time than this.
DEFAULT_CHECKPOINT_EPOCHS = 25
MAX_SAVING_TIME_SHARE = 0.02
MIN_SNAPSHOT_SECONDS = 1.0  # between two snapshots kept in memory for a signal
MAX_SNAPSHOT_TIME_SHARE = 0.01  # of the time may be spent on snapshots
CHECKSUM_MARK = b"\nsha256:"  # between the zip archive and its checksum; zip readers skip both


class CorruptCheckpoint(UserError):
    """A file whose contents do not match its checksum."""


def save_checkpoint(path: Path, checkpoint: dict[str, Any], previous: Path | None = None) -> None:
    """Write one plain dict atomically, followed by its checksum.

    previous: where the file that is replaced is kept (utils.files.write_atomically).
    Raises SystemRefusal if the file cannot be written."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    content = buffer.getvalue()
    seal = CHECKSUM_MARK + hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content + seal, previous)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises CorruptCheckpoint if the checksum is wrong, SystemRefusal if the file cannot be read, and
    UserError if it holds anything but a dict of tensors and plain types."""
    with os_errors_refused(path, "read"):
        content, _, checksum = path.read_bytes().rpartition(CHECKSUM_MARK)
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise CorruptCheckpoint(f"{path} is damaged: delete it and run main_al.py again")
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # many types; torch's own message advises loading without a check
        checkpoint = None
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"{path} is intact but not a checkpoint: move it away and run main_al.py again"
        )
    return checkpoint


def previous_checkpoint_path(path: Path) -> Path:
    """Where the predecessor of the checkpoint at `path` is kept."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


class Checkpoints:
    """The checkpoints of a folder whose lease this process holds.

    Keeps the last two on disk. As a context manager it also saves, when StoppedBySignal ends the
    block, the snapshot that was taken last."""

    def __init__(self, path: Path, before_save: Callable[[dict[str, Any]], None]):
        """before_save: called with each checkpoint before it is written."""
        self.path, self.before_save = path, before_save
        self._snapshot: dict[str, Any] | None = None
        self._save_seconds = 0.0
        self._last_save_time = time.monotonic()
        self._next_snapshot_time = self._last_save_time + MIN_SNAPSHOT_SECONDS

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is StoppedBySignal and self._snapshot:
            with defer_signals():
                self.save_next(self._snapshot)

    def is_due(self, epochs_done: int, interval: int | None) -> bool:
        """Whether to save after this many epochs.

        interval: epochs between checkpoints; 0: never; None: the default, at most
        MAX_SAVING_TIME_SHARE of the time."""
        if interval is None:
            seconds_since_save = time.monotonic() - self._last_save_time
            return (
                epochs_done % DEFAULT_CHECKPOINT_EPOCHS == 0
                and self._save_seconds <= MAX_SAVING_TIME_SHARE * seconds_since_save
            )
        return interval > 0 and epochs_done % interval == 0

    def save_next(self, checkpoint: dict[str, Any]) -> None:
        """Write a checkpoint; the one before it is kept beside it."""
        begin = time.monotonic()
        self._snapshot = checkpoint  # in case a signal comes before it is written
        self.before_save(checkpoint)
        save_checkpoint(self.path, checkpoint, previous_checkpoint_path(self.path))
        self._snapshot = None
        self._last_save_time = time.monotonic()
        self._save_seconds = self._last_save_time - begin
        self._next_snapshot_time = self._last_save_time + MIN_SNAPSHOT_SECONDS

    def take_snapshot(
        self, make_checkpoint: Callable[[], dict[str, Any]], force: bool = False
    ) -> None:
        """Keep a copy of `make_checkpoint()` in memory, to be saved if a signal comes.

        Without `force` only as often as MAX_SNAPSHOT_TIME_SHARE allows."""
        begin = time.monotonic()
        if force or begin >= self._next_snapshot_time:
            self._snapshot = copy.deepcopy(make_checkpoint())
            end = time.monotonic()
            pause = max(MIN_SNAPSHOT_SECONDS, (end - begin) / MAX_SNAPSHOT_TIME_SHARE)
            self._next_snapshot_time = end + pause

    def load_latest(self) -> dict[str, Any] | None:
        """The newest intact checkpoint, moved to its proper path; None if there is no checkpoint.

        Raises CorruptCheckpoint if there are checkpoints and all of them are damaged."""
        path, is_damaged = self.path, False
        # On a file system without hard links, a kill between two renames leaves the newest
        # checkpoint under the name of a leftover.
        leftovers = [] if path.exists() else sorted(path.parent.glob(f".{path.name}.*"))
        for place in filter(Path.exists, (path, *leftovers, previous_checkpoint_path(path))):
            try:
                checkpoint = load_checkpoint(place)
            except CorruptCheckpoint:
                is_damaged |= place not in leftovers
                continue
            if is_damaged:
                log.warning("%s is damaged: resuming from the previous checkpoint", path)
            if place != path:
                with os_errors_refused(path):
                    place.replace(path)
            return checkpoint
        if is_damaged:
            raise CorruptCheckpoint(
                f"{path} is damaged and there is no intact earlier one: delete it to start again"
            )
        return None

    def delete_all(self) -> None:
        """Delete both checkpoints. Raises SystemRefusal if one cannot be deleted."""
        for place in (previous_checkpoint_path(self.path), self.path):
            with os_errors_refused(place, "removed"):
                place.unlink(missing_ok=True)
