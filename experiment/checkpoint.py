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
from utils.files import told, write_atomically
from utils.signals import Stopped, uninterrupted

EVERY = 25  # epochs between checkpoints, unless given,
SHARE = 0.02  # and seldomer where they would take a larger part of the time
KEEP = 1.0  # seconds at least between two states that are kept for a signal
MARK = b"\nsha256:"  # between the zip archive and its checksum; zip readers skip both


class Damaged(UserError):
    """A file whose checksum is not that of its contents."""


def save_checkpoint(path: Path, state: dict, older: Path | None = None) -> None:
    """One plain dict, written atomically, its checksum behind it; older: as write_atomically's."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    seal = MARK + hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content + seal, older)


def load_checkpoint(path: Path) -> dict:
    """Raises Damaged, and UserError where it cannot be read or is of another kind."""
    with told(path, "read"):
        content, _, checksum = path.read_bytes().rpartition(MARK)
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise Damaged(f"{path} is damaged: delete it, and it is made anew")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # many kinds; torch's own words advise to load it without a check
        state = None
    if not isinstance(state, dict):
        raise UserError(f"{path} is whole but no checkpoint: move it away, and it is made anew")
    return state


def older_of(path: Path) -> Path:
    """Where the checkpoint before the one at `path` stays."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


class Checkpoints:
    """The checkpoints of a folder that is held: the last two, and what a signal would save.

    In a `with`: where Stopped ends it, what was kept last is saved."""

    def __init__(self, path: Path, before: Callable[[dict], None]):
        """before: called with each state before it is written."""
        self.path, self.before = path, before
        self._kept, self._cost = None, 0.0
        self._saved = time.monotonic()
        self._next = self._saved + KEEP

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is Stopped and self._kept:
            with uninterrupted():
                self.save(self._kept)

    def due(self, done: int, every: int | None) -> bool:
        """Is it time, after so many epochs?  every: 0 for never, None for the default."""
        if every is None:
            spared = time.monotonic() - self._saved
            return done % EVERY == 0 and self._cost <= SHARE * spared
        return every > 0 and done % every == 0

    def save(self, state: dict) -> None:
        """A checkpoint that follows the last one, which stays beside it."""
        begin = time.monotonic()
        self._kept = state  # should a signal come before it is written
        self.before(state)
        save_checkpoint(self.path, state, older_of(self.path))
        self._kept, self._saved = None, time.monotonic()
        self._cost, self._next = self._saved - begin, self._saved + KEEP

    def keep(self, state: Callable[[], dict], now: bool = False) -> None:
        """Remember a copy of what `state`() is, for a signal: now, or so seldom that it costs no
        more than a hundredth of the time."""
        begin = time.monotonic()
        if now or begin >= self._next:
            self._kept = copy.deepcopy(state())
            end = time.monotonic()
            self._next = end + max(KEEP, 100 * (end - begin))

    def last(self) -> dict | None:
        """The newest checkpoint that is whole, put at its path; None where there is none at all.

        Raises Damaged where there are, and none is whole."""
        path, damaged = self.path, False
        # Killed between two renames where there are no hard links, the newest is a leftover.
        leftovers = [] if path.exists() else sorted(path.parent.glob(f".{path.name}.*"))
        for place in filter(Path.exists, (path, *leftovers, older_of(path))):
            try:
                state = load_checkpoint(place)
            except Damaged:
                damaged |= place not in leftovers
                continue
            if damaged:
                log.warning("%s is damaged: going on from the checkpoint before it", path)
            if place != path:
                with told(path):
                    place.replace(path)
            return state
        if damaged:
            raise Damaged(f"{path} is damaged, and there is no whole one: delete it to start anew")
        return None

    def forget(self) -> None:
        """Remove them."""
        for place in (older_of(self.path), self.path):
            with told(place, "removed"):
                place.unlink(missing_ok=True)
