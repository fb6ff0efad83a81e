"""One owner a folder, also on network file systems: a lease that names its owner and ends with it.

    <folder>/.lease/<n>/owner.json      n = 1, 2, ...: the owner of the highest n owns the folder

A lease is made whole under a name of its own (mkdir, owner.json) and then renamed to the number
above the highest, where that one's owner has released it or is dead.  Renaming a folder onto one
that is not empty fails, on the server of a network file system too: of two that find the same lease
dead exactly one gets the next number, and a lease is never seen without its owner.

Why numbers, and no `.lease` that is moved away and made anew: who finds an owner dead and then
falls asleep would move away the next owner's.  Here it asks for a number that is taken.  The
highest never falls: only numbers below it are removed, and a released lease stays, as the mark of
how far they are.  Who gets a number that was removed meanwhile sees the higher one when it looks
again, and withdraws.

An owner of this host is dead when its process is.  One of another host is dead when it has not
renewed its lease for EXPIRES seconds; all times are stamps of the one file system, never clocks of
two hosts.  An owner that finds its own renewals, by these stamps, half of that apart cannot know
what others concluded meanwhile: it asks for the next number as they do, and has lost the folder
where it does not get it.  (If it is suspended after asking, within the write, nothing stops it.)
"""

import errno
import json
import os
import secrets
import threading
import weakref
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from utils.errors import SystemRefusal, UserError
from utils.files import json_bytes, space_left
from utils.processes import host_info, is_process_alive, process_start_time

LEASE_FOLDER = ".lease"
RENEWAL_SECONDS = 15.0  # seconds between two renewals
EXPIRY_SECONDS = 120.0  # seconds after the last one when another host may take over
IN_USE_PHRASE = "is in use by"  # in the words of InUse, by which who started a run knows it
NUMBER_TAKEN_ERRNOS = (
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.ENOENT,
)  # of a rename; the last: ours was swept


class FolderInUse(UserError):
    """The folder has a living owner."""


class Lease:
    """A folder held alone until it is released, by `release`, the end of a `with`, the collection
    of this object or the end of the process.  A daemon thread renews it."""

    def __init__(self, folder: Path, description: str):
        """Make the folder where it is missing, and hold it.  what: what it is, for messages.

        Raises InUse where it has a living owner, Refused where it cannot be written."""
        self.folder, self._description = Path(folder), f"{description} {folder}"
        self._lease_root = self.folder / LEASE_FOLDER
        self._lock, self._stop_event = threading.Lock(), threading.Event()
        self._finalizer = None
        try:
            while not (self._try_acquire() and self.renew_if_held()):
                pass  # another was faster; the next attempt says who
            self._remove_old_leases()
        except OSError as error:
            raise self._write_refusal(error) from None
        words = (weakref.ref(self), self._stop_event)
        threading.Thread(target=_renew_in_background, args=words, daemon=True).start()

    def renew_if_held(self) -> bool:
        """Whether the folder is still ours; a renewal, too.  Raises OSError."""
        with self._lock:
            if not self._finalizer.alive:
                return False
            try:
                self._renew()
                if self._is_late:
                    return self._claim_number(*self._make_unnumbered(), self._number + 1)
            except FileNotFoundError:
                return False  # swept by the next owner
            return _highest_number(self._lease_root) == self._number

    def require_held(self) -> None:
        """To be called before writing.  Raises UserError where the folder is not ours any more."""
        try:
            if self.renew_if_held():
                return
            owner, _ = _read_owner(self._lease_root / str(_highest_number(self._lease_root)))
        except OSError as error:
            raise self._write_refusal(error) from None
        by = _describe_owner(owner) if owner else "another process"
        raise UserError(
            f"{self._description} was taken over by {by}; this one stops and writes no more"
        )

    def release(self) -> None:
        """Give the folder back, where it is still ours."""
        self._finalizer()

    def discard(self) -> None:
        """Leave no trace in a folder that was made for nothing."""
        self._stop_event.set()
        self._finalizer.detach()
        gone = self._lease_root / f"new-{secrets.token_hex(8)}"
        with suppress(OSError):
            self._path.rename(gone)  # at once: as a released one it would call for the next number
        _remove_lease(gone)
        with suppress(OSError):
            self._lease_root.rmdir()  # not where another waits already

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error) -> None:
        self.release()

    def _try_acquire(self) -> bool:
        """Get the number above the highest, unless another is faster.  Raises InUse."""
        self._lease_root.mkdir(parents=True, exist_ok=True)
        try:
            made, now = (
                self._make_unnumbered()
            )  # before looking: a network file system then looks afresh
        except FileNotFoundError:
            return False  # undone by who made the folder
        try:
            highest = _highest_number(self._lease_root)
            if highest and (owner := _live_owner(self._lease_root / str(highest), now)):
                raise FolderInUse(f"{self._description} {IN_USE_PHRASE} {_describe_owner(owner)}")
            return self._claim_number(made, now, highest + 1)
        finally:
            _remove_lease(made)  # where it was not renamed

    def _make_unnumbered(self) -> tuple[Path, float]:
        """A lease in no number yet; -> where, and the file system's time."""
        made = self._lease_root / f"new-{secrets.token_hex(8)}"
        made.mkdir()
        who = {"pid": os.getpid(), "started": process_start_time(os.getpid())}
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        path = made / "owner.json"
        path.write_bytes(json_bytes({**host_info(), **who, "since": since}))
        return made, path.stat().st_mtime

    def _claim_number(self, made: Path, now: float, number: int) -> bool:
        """Give what was made its number, unless another has or had it."""
        place = self._lease_root / str(number)
        try:
            made.rename(place)
        except OSError as error:
            _remove_lease(made)
            if error.errno in NUMBER_TAKEN_ERRNOS:
                return False
            raise
        if _highest_number(self._lease_root) != number:
            _remove_lease(place)
            return False
        if self._finalizer:
            self._finalizer.detach()
        self._number, self._path, self._last_renewal_time, self._is_late = number, place, now, False
        self._finalizer = weakref.finalize(
            self, _release_lease, place, self._stop_event, os.getpid()
        )
        return True

    def _renew(self) -> None:
        """Stamp the lease; late where others may have found it dead before."""
        path = self._path / "owner.json"
        os.utime(path)
        before, self._last_renewal_time = self._last_renewal_time, path.stat().st_mtime
        self._is_late |= not 0 <= self._last_renewal_time - before < EXPIRY_SECONDS / 2

    def _remove_old_leases(self) -> None:
        """Remove lower numbers, what was never renamed, and an earlier version's `.lock`."""
        for path in self._lease_root.iterdir():
            with suppress(OSError):
                old = path.stat().st_mtime < self._last_renewal_time - EXPIRY_SECONDS
                if int(path.name) < self._number if path.name.isdecimal() else old:
                    _remove_lease(path)
        with suppress(OSError):
            (self.folder / ".lock").unlink()

    def _write_refusal(self, error: OSError) -> SystemRefusal:
        where = f"{error.filename}: " if error.filename else ""
        room = f"({space_left(self.folder)} left)"
        return SystemRefusal(
            f"{self._description} cannot be written: {where}{error.strerror} {room}"
        )


def _renew_in_background(reference: weakref.ref, stop: threading.Event) -> None:
    while not stop.wait(RENEWAL_SECONDS):
        lease = reference()
        if lease is None:
            return
        with suppress(OSError), lease._lock:  # a file system that is away for a while
            lease._renew()
        del lease  # or it would never be garbage


def _release_lease(place: Path, stop: threading.Event, pid: int) -> None:
    stop.set()
    if os.getpid() == pid:  # and not a fork of the owner
        with suppress(OSError):
            (place / "owner.json").rename(place / "released.json")


def _highest_number(root: Path) -> int:
    """The highest number; 0 where there is none."""
    return max((int(name) for name in os.listdir(root) if name.isdecimal()), default=0)


def _live_owner(place: Path, now: float) -> dict | None:
    """The owner of a lease, if it lives."""
    owner, renewed = _read_owner(place)
    if owner is None and not (place / "released.json").exists():
        # Made by hand, or what a loss of power left.  It must not be empty when the next number is
        # taken: another's lease could still be renamed onto it.  One that just was is seen now.
        with suppress(FileNotFoundError):  # the next owner has swept it
            (place / "released.json").touch()
        owner, renewed = _read_owner(place)
    if owner is None:
        return None
    if owner["boot"] and host_info() == {name: owner[name] for name in host_info()}:
        return owner if is_process_alive(owner["pid"], owner["started"]) else None
    age = now - renewed
    silent = f"silent for {age:.0f} s, taken over after {EXPIRY_SECONDS:.0f}"
    return {**owner, "silent": silent} if age <= EXPIRY_SECONDS else None


def _read_owner(place: Path) -> tuple[dict | None, float]:
    """Who has the lease, and when it was last renewed; None where it is released or torn."""
    try:
        with open(place / "owner.json") as file:  # opening makes a network client ask the server
            owner, renewed = json.load(file), os.fstat(file.fileno()).st_mtime
        owner["pid"] = int(owner["pid"])
        return {name: owner[name] for name in (*host_info(), "pid", "started", "since")}, renewed
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None, 0.0


def _describe_owner(owner: dict) -> str:
    silent = f" ({owner['silent']})" if "silent" in owner else ""
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}{silent}"


def _remove_lease(place: Path) -> None:
    """Remove a lease; what is missing, or another user's, is left."""
    with suppress(OSError):
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
