"""Waiting for other processes, and reading folders that they write to meanwhile."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.forked import ForkedCommand
from utils.lease import LEASE_FOLDER


def wait_for(
    happened: Callable[[], Any],
    process: subprocess.Popen | ForkedCommand | None = None,
    seconds: float = 300.0,
    pause: float = 0.005,
) -> None:
    """Return as soon as `happened()` is true.

    Raises AssertionError if the process ends before, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        has_ended = process is not None and process.poll() is not None
        assert not has_ended or happened(), "the process ended before the event"
        assert time.monotonic() < deadline, f"nothing happened in {seconds:.0f} s"
        time.sleep(pause)


def is_suspended(pid: int) -> bool:
    """Whether SIGSTOP has stopped a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def parent_of(pid: int) -> int | None:
    """The process that started a process; None if that has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def files_below(folder: str | os.PathLike[str], name: str) -> list[Path]:
    """Files of this name below a folder.  (Path.rglob raises if a folder that it has listed is
    removed before it is opened.)"""
    return [Path(path, name) for path, _, files in os.walk(folder) if name in files]


def current_leases(folder: str | os.PathLike[str]) -> list[Path]:
    """owner.json of the leases below a folder that have a number and are not released."""
    return [
        path
        for path in files_below(folder, "owner.json")
        if path.parent.name.isdecimal() and path.parts[-3] == LEASE_FOLDER
    ]
