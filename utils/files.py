"""Files that are whole or not there, and what the system says when they cannot be."""

import csv
import errno
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import SystemRefusal
from utils.signals import defer_signals

# Of a write that was killed.
LEFTOVER_PATTERN = re.compile(r"\.(.+\.(?:pt|csv|json)|queries\.html|classes\.txt)\.[a-z0-9_]{8}")


def write_atomically(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write beside the target and rename: a kill at any moment leaves the old file or the new.

    older: where the file that is replaced goes, so that at every moment two are there.  Raises
    Refused where the system does."""
    with os_errors_refused(path), defer_signals():
        make_folder(path.parent)
        with temporary_beside(path, content) as temporary:
            replaced = _link_or_move_aside(path, previous) if previous and path.exists() else None
            os.replace(temporary, path)
            if replaced:
                os.replace(replaced, previous)


def _link_or_move_aside(path: Path, previous: Path) -> Path | None:
    """A leftover's name for what is at `path`.  Where the file system has no hard links it goes to
    `older` at once, and a kill before the next rename leaves the newest under a leftover's name."""
    second = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.link(path, second)
    except OSError:
        os.replace(path, previous)
        return None
    return second


@contextmanager
def temporary_beside(path: Path, content: bytes):
    """A whole file beside the target, for it to be renamed; -> its name.  Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would shut a group out of a shared folder
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and what is missing above it, all or nothing; -> those made, innermost first.

    Raises OSError."""
    made = []
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            made.insert(0, path)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    except OSError:
        remove_empty_folders(made)
        raise
    return made


def remove_empty_folders(folders: list[Path]) -> None:
    """Remove these folders, innermost first, as far as they are empty."""
    with suppress(OSError):
        for path in folders:
            path.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writes left.  The folder must be held (utils.lease)."""
    for path in folder.iterdir():
        if LEFTOVER_PATTERN.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


@contextmanager
def os_errors_refused(path: Path, action: str = "written"):
    """An OSError within becomes Refused: the path, what is wrong, and the space left."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        room = f" ({space_left(path)} left)" if action == "written" else ""
        raise SystemRefusal(f"{path} cannot be {action}: {why}{room}") from None


def space_left(path: Path) -> str:
    """What is free where a file is or would be."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            free = shutil.disk_usage(place).free
            return f"{free / 2**30:.1f} GiB" if free >= 2**30 else f"{free / 2**20:.1f} MiB"
    return "unknown space"


def json_bytes(content: dict) -> bytes:
    """JSON as people read it."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def render_csv(header: tuple[str, ...], rows: list[dict]) -> str:
    """CSV text; a row that lacks a column or has another is a ValueError, a None an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        if set(row) != set(header):
            raise ValueError(f"columns {sorted(row)} instead of {sorted(header)}")
        writer.writerow(row)
    return text.getvalue()
