"""Waiting for other processes, and reading folders that they write to meanwhile."""

import os
import subprocess
import time
from collections.abc import Callable
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
        assert process is None or process.poll() is None, "the process ended before the event"
        assert time.monotonic() < deadline, f"nothing happened in {seconds:.0f} s"
        time.sleep(pause)


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
