"""Files that are whole or not there."""

import json
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target and rename: a kill at any moment leaves the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would shut a group out of a shared folder
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def json_bytes(content: dict) -> bytes:
    """JSON as people read it."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
