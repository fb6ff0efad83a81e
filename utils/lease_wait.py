"""Waiting for a folder that another process holds."""

import time
from collections.abc import Callable
from pathlib import Path

from utils.lease import InUse, Lease

POLL = 1.0  # seconds between two looks at who holds it


def lease_of(folder: Path, what: str, tell: Callable[[str], object]) -> Lease:
    """The lease of the folder; waits, and tells who has it once, while another process does.

    what: what the folder is, for messages.  Raises Refused where it cannot be written."""
    told = False
    while True:
        try:
            return Lease(folder, what)
        except InUse as error:
            if not told:
                tell(str(error))
            told = True
            time.sleep(POLL)
