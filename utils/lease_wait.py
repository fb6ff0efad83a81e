"""Waiting for a folder that another process holds."""

import time
from collections.abc import Callable
from pathlib import Path

from utils.lease import FolderInUse, Lease

POLL_SECONDS = 1.0  # seconds between two looks at who holds it


def wait_for_lease(folder: Path, description: str, notify: Callable[[str], object]) -> Lease:
    """The lease of the folder; waits, and tells who has it once, while another process does.

    what: what the folder is, for messages.  Raises Refused where it cannot be written."""
    told = False
    while True:
        try:
            return Lease(folder, description)
        except FolderInUse as error:
            if not told:
                notify(str(error))
            told = True
            time.sleep(POLL_SECONDS)
