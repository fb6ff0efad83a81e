"""Waiting for what other processes do, and reading folders that they write in meanwhile."""

import os
import time
from pathlib import Path

from utils.lease import LEASE_FOLDER


def wait_for(happened, process=None, seconds=120.0, pause=0.005):
    """Return when `happened()`; AssertionError where the process ends before, or time runs out."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, "finished before what was waited for"
        assert time.monotonic() < deadline
        time.sleep(pause)


def below(folder, name) -> list[Path]:
    """Files of this name below a folder.  (Path.rglob raises where a folder that it has listed is
    gone when it is opened.)"""
    return [Path(path, name) for path, _, files in os.walk(folder) if name in files]


def held(folder) -> list[Path]:
    """Leases that are held below a folder: numbered, not those that are being made."""
    found = below(folder, "owner.json")
    return [
        path for path in found if path.parent.name.isdecimal() and path.parts[-3] == LEASE_FOLDER
    ]
