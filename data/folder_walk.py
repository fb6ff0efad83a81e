"""All files below a folder, also those that links lead to.

A link to a folder is followed, inside the root and out of it, unless the folder contains the link.
Folders that hold no images of the user (hidden ones, and those that systems create) are walked to
count what is in them, but no link in them is followed.  The files of runs and reports of this
project, images among them, are left out, and so are folders that hold nothing else.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from data.image_formats import has_image_extension
from utils.console import to_one_line
from utils.errors import SystemRefusal
from utils.lease import LEASE_FOLDER

# Created by macOS archives, Synology and QNAP disks, Windows and Linux file systems.
SYSTEM_FOLDERS = (
    *("__macosx", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin"),
    *("system volume information", "lost+found"),
)
OWN_FILES = (LEASE_FOLDER, "report.html")  # a folder with one of them is a run or a report
OWN_IMAGES = ("data.png", "curves.png", "maps.png")
FileId: TypeAlias = tuple[int, int]  # device and inode


class FoundFile(NamedTuple):
    """A file, or a link that leads nowhere."""

    path: str  # relative to the root, as it was reached
    real_path: str  # absolute, without links


@dataclass
class FolderContents:
    """What is below a folder; paths are relative to it.

    A folder that is reached several times below the same two top folders is listed once."""

    files: list[FoundFile] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    broken_links: list[str] = field(default_factory=list)  # these are also among the files
    loops: list[str] = field(default_factory=list)  # links to a folder that contains them
    unlisted: list[str] = field(default_factory=list)  # skipped folders without permission


class _Folder(NamedTuple):
    """A folder that is still to be listed."""

    path: str  # relative to the root
    real_path: str
    ancestors: frozenset[FileId]
    is_skipped: bool


def is_skipped_folder(name: str) -> bool:
    """Whether folders of this name hold no images of the user."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def walk_folder(top: Path) -> FolderContents:
    """Everything below `top`, which is a folder.

    Raises SystemRefusal where a folder or the target of a link cannot be read."""
    contents = FolderContents()
    real_top = os.path.realpath(top)
    parents = frozenset(_ids_of_parents(real_top))
    pending, linked = deque([_Folder("", real_top, parents, False)]), deque[_Folder]()
    visited: set[tuple[tuple[str, ...], FileId]] = set()
    own_folders: list[str] = []
    while pending or linked:
        # Links come last: a file that is reached twice is named by its path without links.
        folder = pending.popleft() if pending else linked.popleft()
        try:
            folder_id = _file_id(folder.real_path)
            if folder_id in folder.ancestors:
                contents.loops.append(folder.path)
                continue
            group = (*folder.path.split(os.sep)[:2],)
            if (group, folder_id) in visited:
                continue
            visited.add((group, folder_id))
            with os.scandir(folder.real_path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if not folder.is_skipped:
                raise _make_refusal(top, folder.path, error) from None
            contents.unlisted.append(folder.path)
            continue
        if any(entry.name in OWN_FILES for entry in entries):
            own_folders.append(folder.path)
            entries = [entry for entry in entries if not _is_own(entry)]
        if folder.path:
            contents.folders.append(folder.path)
        folder = folder._replace(ancestors=folder.ancestors | {folder_id})
        for entry in entries:
            _add_entry(top, folder, entry, contents, pending, linked)
    _forget_own_folders(contents, own_folders)
    return contents


def _is_own(entry: os.DirEntry[str]) -> bool:
    """In the folder of a run or report: whether it is neither an image nor a folder of the user."""
    if entry.is_dir():
        return entry.name == LEASE_FOLDER
    return entry.name in OWN_IMAGES or not has_image_extension(entry.name)


def _forget_own_folders(contents: FolderContents, own_folders: Sequence[str]) -> None:
    """Remove the folders of runs and reports, and those above and below them, that hold no file."""
    if not own_folders:
        return
    own = {path for path in own_folders if path}
    above = {str(parent) for path in own for parent in Path(path).parents}
    filled = {str(parent) for file in contents.files for parent in Path(file.path).parents}
    contents.folders = [
        path
        for path in contents.folders
        if path in filled
        or (path not in above and own.isdisjoint((path, *map(str, Path(path).parents))))
    ]


def _add_entry(
    top: Path,
    folder: _Folder,
    entry: os.DirEntry[str],
    contents: FolderContents,
    pending: deque[_Folder],
    linked: deque[_Folder],
) -> None:
    path = f"{folder.path}{os.sep}{entry.name}" if folder.path else entry.name
    real_path = f"{folder.real_path}{os.sep}{entry.name}"
    if not entry.is_symlink():
        if entry.is_dir(follow_symlinks=False):
            is_skipped = folder.is_skipped or is_skipped_folder(entry.name)
            pending.append(_Folder(path, real_path, folder.ancestors, is_skipped))
        else:
            contents.files.append(FoundFile(path, real_path))
        return
    is_skipped = folder.is_skipped or is_skipped_folder(entry.name)
    target = os.path.realpath(real_path)
    try:
        is_folder = stat.S_ISDIR(os.stat(real_path).st_mode)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM) and not is_skipped:
            raise _make_refusal(top, path, error) from None
        contents.files.append(FoundFile(path, real_path))
        if not is_skipped:
            contents.broken_links.append(path)
        return
    if not is_folder:
        contents.files.append(FoundFile(path, target))
    elif not is_skipped:
        ancestors = folder.ancestors | _ids_of_parents(target)
        linked.append(_Folder(path, target, ancestors, False))


def _file_id(path: str) -> FileId:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _ids_of_parents(path: str) -> set[FileId]:
    """Of all folders above `path` that can be examined."""
    ids = set()
    for parent in Path(path).parents:
        try:
            ids.add(_file_id(str(parent)))
        except OSError:
            continue
    return ids


def _make_refusal(top: Path, path: str, error: OSError) -> SystemRefusal:
    reason = error.strerror or str(error)
    cure = "give permission to read it" + (f", or move it out of {top}" if path else "")
    return SystemRefusal(f"{to_one_line(str(top / path))} cannot be read: {reason}; {cure}")
