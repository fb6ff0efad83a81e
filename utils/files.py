"""Files that are written completely or not at all, and errors of the system in one line."""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from utils.errors import SystemRefusal
from utils.signals import defer_signals

# Temporary files of `write_atomically` that a kill has left behind.
LEFTOVER_PATTERN = re.compile(
    r"\.(.+\.(?:pt|csv|json)|queries\.html|classes\.txt|data\.png)\.[a-z0-9_]{8}"
)


def write_atomically(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write beside the target and rename: a kill at any moment leaves the old or the new file.

    previous: where the replaced file is kept, so that two versions exist at every moment.
    Raises SystemRefusal if the system refuses the write."""
    with os_errors_refused(path), defer_signals():
        make_folder(path.parent)
        with temporary_beside(path, content) as temporary:
            replaced = _link_or_move_aside(path, previous) if previous and path.exists() else None
            os.replace(temporary, path)
            if previous and replaced:
                os.replace(replaced, previous)


def _link_or_move_aside(path: Path, previous: Path) -> Path | None:
    """Give the file at `path` a second, temporary name, and return that.

    Without hard links the file is renamed to `previous` at once, and None is returned; a kill
    before the next rename then leaves the newest version under its temporary name only."""
    second_name = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.link(path, second_name)
    except OSError:
        os.replace(path, previous)
        return None
    return second_name


@contextmanager
def temporary_beside(path: Path, content: bytes) -> Iterator[str]:
    """The name of a complete temporary file beside the target, to be renamed within the block.

    Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # with mkstemp's 0600 others could not read a shared folder
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and its missing parents; returns the new folders, innermost first.

    Raises OSError, after removing what it created."""
    created: list[Path] = []
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            created.insert(0, path)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    except OSError:
        remove_empty_folders(created)
        raise
    return created


def remove_empty_folders(folders: Iterable[Path]) -> None:
    """Remove these folders in order, innermost first, until one is not empty."""
    with suppress(OSError):
        for path in folders:
            path.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writes.  The caller must hold the folder's lease."""
    for path in folder.iterdir():
        if LEFTOVER_PATTERN.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


@contextmanager
def os_errors_refused(path: Path, action: str = "written") -> Iterator[None]:
    """An OSError within the block becomes a SystemRefusal, which names the path, the reason and,
    for a write, the space left; a file where a folder belongs, or the reverse, is named too. A
    pipe or a device is not read: that might never end."""
    try:
        if action == "read" and path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise SystemRefusal(
            f"{path} cannot be {action}: {reason}{_describe_obstacle(path, error, action)}"
        ) from None


def _describe_obstacle(path: Path, error: OSError, action: str) -> str:
    """What is in the way and what to do, or the space left, as the end of a message."""
    if isinstance(error, IsADirectoryError):
        return "; a folder is where a file of this name belongs: move it away or rename it"
    if isinstance(error, NotADirectoryError):
        places = (path, *path.parents)
        obstacle = next(one for one in places if one.exists() and not one.is_dir())
        return f"; {obstacle} is not a folder: give another path"
    return f" ({space_left(path)} left)" if action == "written" else ""


def space_left(path: Path) -> str:
    """Free space of the file system of a path, which need not exist, in words."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            free = shutil.disk_usage(place).free
            return f"{free / 2**30:.1f} GiB" if free >= 2**30 else f"{free / 2**20:.1f} MiB"
    return "unknown space"


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises ValueError if it is damaged, in whatever way, OSError if it cannot be read."""
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """Raises ValueError if the content of a JSON file is damaged, in whatever way."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and indentation."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def render_csv(header: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV text; None becomes an empty cell.  Raises ValueError for a row with other columns."""
    lines = [header]
    for row in rows:
        if set(row) != set(header):
            raise ValueError(f"a row has the columns {sorted(row)} instead of {sorted(header)}")
        lines.append(tuple("" if row[name] is None else str(row[name]) for name in header))
    return "".join(",".join(map(quote_cell, line)) + "\n" for line in lines)


def quote_cell(text: str) -> str:
    """The text as a cell of a CSV file, in quotes where it needs them.

    csv.writer leaves a lone carriage return without quotes before Python 3.13."""
    return '"{}"'.format(text.replace('"', '""')) if re.search(r'[",;\t\r\n]', text) else text
