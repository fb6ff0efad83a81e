"""A folder that one process fills, and the others wait for."""

import time
from collections.abc import Callable
from pathlib import Path

from utils.run.lease import InUse, Lease

POLL = 1.0  # seconds between two looks at who has it


def waited(folder: Path, what: str, tell: Callable[[InUse], None]) -> Lease:
    """The lease of the folder; waits while another process has it, and tells so once."""
    said = False
    while True:
        try:
            return Lease(folder, what)
        except InUse as error:
            if not said:
                tell(error)
            said = True
            time.sleep(POLL)
