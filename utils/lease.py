"""One owner per folder, also on network file systems: a lease names its owner and ends with it.

    <folder>/.lease/<n>/owner.json      n = 1, 2, ...: the owner of the highest n owns the folder

A lease is prepared under a temporary name (mkdir, owner.json) and then renamed to the number above
the highest, if the owner of the highest has released it or is dead.  Renaming a folder onto one
that is not empty fails, also on the server of a network file system.  So of two processes that find
the same lease dead exactly one gets the next number, and a lease is never seen without its owner.

Why numbers, and not a single `.lease` that is moved away and replaced: a process that finds an
owner dead and is then suspended would later move away the lease of the next owner.  Here it asks
for a number that is taken.  The highest number never falls: only lower ones are removed, and a
released lease stays in place to mark it.  A process that gets a number which was removed meanwhile
sees the higher one when it looks again, and withdraws.

An owner on this host is dead if its process is.  One on another host is dead if it has not renewed
its lease for EXPIRY_SECONDS.  All times are time stamps of the one file system, never clocks of two
hosts.  An owner that finds two of its own renewals half of that apart cannot know what others
concluded meanwhile: it asks for the next number as they do, and has lost the folder if it does not
get it.  (If it is suspended after asking, within a write, nothing stops it.)
"""

import errno
import json
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from utils.errors import SystemRefusal, UserError
from utils.files import json_bytes, space_left
from utils.processes import host_info, is_process_alive, process_start_time

LEASE_FOLDER = ".lease"
RENEWAL_SECONDS = 15.0  # between two renewals
EXPIRY_SECONDS = 120.0  # from the last renewal until another host may take over
POLL_SECONDS = 1.0  # between two attempts of a process that waits
# Errors of a rename to a number that is taken; ENOENT: another process removed our temporary lease.
NUMBER_TAKEN_ERRNOS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)


class FolderInUse(UserError):
    """Another live process owns the folder."""

    exit_code = 75  # "temporary failure, try again later" in BSD's sysexits.h


class Lease:
    """Exclusive ownership of a folder, until `release`, the end of a `with` block, the garbage
    collection of this object or the end of the process.  A daemon thread renews it."""

    def __init__(self, folder: Path, description: str):
        """Acquire the folder; create it if it is missing.

        description: what the folder is, for messages.
        Raises FolderInUse if another live process owns it, SystemRefusal if it cannot be
        written."""
        self.folder, self._description = Path(folder), f"{description} {folder}"
        self._lease_root = self.folder / LEASE_FOLDER
        self._lock, self._stop_event = threading.Lock(), threading.Event()
        self._finalizer: weakref.finalize[Any, Lease] | None = None
        try:
            while not (self._try_acquire() and self.renew_if_held()):
                pass  # another process was faster; the next attempt says which
            self._remove_old_leases()
        except OSError as error:
            raise self._write_refusal(error) from None
        arguments = (weakref.ref(self), self._stop_event)
        threading.Thread(target=_renew_in_background, args=arguments, daemon=True).start()

    def renew_if_held(self) -> bool:
        """Renew the lease; returns whether this process still owns the folder.  Raises OSError."""
        with self._lock:
            if self._finalizer is None or not self._finalizer.alive:
                return False
            try:
                self._renew()
                if self._is_late:
                    return self._claim_number(*self._make_unnumbered(), self._number + 1)
            except FileNotFoundError:
                return False  # removed by the next owner
            return _highest_number(self._lease_root) == self._number

    def require_held(self) -> None:
        """Call before writing.  Raises UserError if this process does not own the folder any more,
        SystemRefusal if the lease cannot be read or written."""
        try:
            if self.renew_if_held():
                return
            owner, _ = _read_owner(self._lease_root / str(_highest_number(self._lease_root)))
        except OSError as error:
            raise self._write_refusal(error) from None
        new_owner = _describe_owner(owner) if owner else "another process"
        raise UserError(
            f"{self._description} was taken over by {new_owner}; this process stops and writes "
            "nothing more"
        )

    def release(self) -> None:
        """Give up the folder, if this process still owns it."""
        if self._finalizer:
            self._finalizer()

    def discard(self) -> None:
        """Give up the folder and remove all traces of the lease."""
        self._stop_event.set()
        if self._finalizer:
            self._finalizer.detach()
        removed = self._lease_root / f"new-{secrets.token_hex(8)}"
        with suppress(OSError):
            # Its number is free at once; a released lease would keep the number.
            self._path.rename(removed)
        _remove_lease(removed)
        with suppress(OSError):
            self._lease_root.rmdir()  # fails if another process is acquiring the folder

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _try_acquire(self) -> bool:
        """Take the number above the highest; False if another process was faster.

        Raises FolderInUse, OSError."""
        self._lease_root.mkdir(parents=True, exist_ok=True)
        try:
            # Writing before looking makes the client of a network file system ask its server.
            unnumbered, now = self._make_unnumbered()
        except FileNotFoundError:
            return False  # another process discarded its lease, and the folder with it
        try:
            highest = _highest_number(self._lease_root)
            if highest and (owner := _live_owner(self._lease_root / str(highest), now)):
                owner_words = _describe_owner(owner)
                raise FolderInUse(f"{self._description} is in use by {owner_words}")
            return self._claim_number(unnumbered, now, highest + 1)
        finally:
            _remove_lease(unnumbered)  # if it was not renamed

    def _make_unnumbered(self) -> tuple[Path, float]:
        """Write a lease without a number; returns its path and the file system's time."""
        unnumbered = self._lease_root / f"new-{secrets.token_hex(8)}"
        unnumbered.mkdir()
        process = {"pid": os.getpid(), "started": process_start_time(os.getpid())}
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        path = unnumbered / "owner.json"
        path.write_bytes(json_bytes({**host_info(), **process, "since": since}))
        return unnumbered, path.stat().st_mtime

    def _claim_number(self, unnumbered: Path, now: float, number: int) -> bool:
        """Rename a lease to its number; False if another process has or had this number."""
        path = self._lease_root / str(number)
        try:
            unnumbered.rename(path)
        except OSError as error:
            _remove_lease(unnumbered)
            if error.errno in NUMBER_TAKEN_ERRNOS:
                return False
            raise
        if _highest_number(self._lease_root) != number:
            _remove_lease(path)
            return False
        if self._finalizer:
            self._finalizer.detach()
        self._number, self._path, self._last_renewal_time, self._is_late = number, path, now, False
        self._finalizer = weakref.finalize(
            self, _release_lease, path, self._stop_event, os.getpid()
        )
        return True

    def _renew(self) -> None:
        """Update the time stamp.  The lease is late if others may have found it dead before."""
        path = self._path / "owner.json"
        os.utime(path)
        previous, self._last_renewal_time = self._last_renewal_time, path.stat().st_mtime
        self._is_late |= not 0 <= self._last_renewal_time - previous < EXPIRY_SECONDS / 2

    def _remove_old_leases(self) -> None:
        """Remove lower numbers, expired temporary leases, and the `.lock` of an earlier version."""
        for path in self._lease_root.iterdir():
            with suppress(OSError):
                is_old = path.stat().st_mtime < self._last_renewal_time - EXPIRY_SECONDS
                if int(path.name) < self._number if path.name.isdecimal() else is_old:
                    _remove_lease(path)
        with suppress(OSError):
            (self.folder / ".lock").unlink()

    def _write_refusal(self, error: OSError) -> SystemRefusal:
        path = f"{error.filename}: " if error.filename else ""
        space = f"({space_left(self.folder)} left)"
        return SystemRefusal(
            f"{self._description} cannot be written: {path}{error.strerror} {space}"
        )


def wait_for_lease(folder: Path, description: str, notify: Callable[[str], object]) -> Lease:
    """The lease of a folder, as soon as no other process holds it.

    description: what the folder is, for messages.
    notify: is called once with the message of FolderInUse if there is anything to wait for.
    Raises SystemRefusal if the folder cannot be written."""
    is_notified = False
    while True:
        try:
            return Lease(folder, description)
        except FolderInUse as error:
            if not is_notified:
                notify(str(error))
            is_notified = True
            time.sleep(POLL_SECONDS)


def _renew_in_background(reference: weakref.ref[Lease], stop: threading.Event) -> None:
    while not stop.wait(RENEWAL_SECONDS):
        lease = reference()
        if lease is None:
            return
        with suppress(OSError), lease._lock:  # the file system may be unavailable for a while
            lease._renew()
        del lease  # a reference would keep it from being collected


def _release_lease(path: Path, stop: threading.Event, pid: int) -> None:
    stop.set()
    if os.getpid() == pid:  # not in a fork of the owner
        with suppress(OSError):
            (path / "owner.json").rename(path / "released.json")


def _highest_number(root: Path) -> int:
    """The highest number; 0 if there is none."""
    return max((int(name) for name in os.listdir(root) if name.isdecimal()), default=0)


def _live_owner(path: Path, now: float) -> dict[str, Any] | None:
    """The owner of a lease; None if it is dead or has released the lease.

    now: the file system's time."""
    owner, renewal_time = _read_owner(path)
    if owner is None and not (path / "released.json").exists():
        # Made by hand, or left by a loss of power.  It must not be empty when the next number is
        # taken, or another lease could still be renamed onto it.  If one just was, read it.
        with suppress(FileNotFoundError):  # removed by the next owner
            (path / "released.json").touch()
        owner, renewal_time = _read_owner(path)
    if owner is None:
        return None
    if owner["boot"] and host_info() == {name: owner[name] for name in host_info()}:
        return owner if is_process_alive(owner["pid"], owner["started"]) else None
    age = now - renewal_time
    if age < -EXPIRY_SECONDS:  # the server's clock was set back: count the silence from now on
        with suppress(OSError):
            os.utime(path / "owner.json")
            age = 0.0
    silence = f"silent for {age:.0f} s, taken over after {EXPIRY_SECONDS:.0f} s"
    return {**owner, "silence": silence} if age <= EXPIRY_SECONDS else None


def _read_owner(path: Path) -> tuple[dict[str, Any] | None, float]:
    """The owner of a lease and the time of its last renewal; None if the lease is released or its
    file is incomplete."""
    try:
        with open(path / "owner.json") as file:  # opening makes a network client ask the server
            owner, renewal_time = json.load(file), os.fstat(file.fileno()).st_mtime
        owner["pid"] = int(owner["pid"])
        if owner["pid"] <= 0:  # to os.kill it would be a group of processes
            return None, 0.0
        names = (*host_info(), "pid", "started", "since")
        return {name: owner[name] for name in names}, renewal_time
    except (FileNotFoundError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None, 0.0


def _describe_owner(owner: dict[str, Any]) -> str:
    silence = f" ({owner['silence']})" if "silence" in owner else ""
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}{silence}"


def _remove_lease(path: Path) -> None:
    """Remove a lease; ignores one that is missing or belongs to another user."""
    with suppress(OSError):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
