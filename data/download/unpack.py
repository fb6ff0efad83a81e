"""Unpack archives safely: a tar file may name any path on the disk, and links to any path.

Nothing is written before every member is known to be a file or folder below the target folder.
"""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from utils.errors import SystemRefusal
from utils.files import os_errors_refused

CORRUPT_ARCHIVE_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError)


def unpack_archive(archive: Path, target: Path) -> list[str]:
    """Unpack a .tar.gz, or the one file of a .gz, into a folder; -> the files, relative to it.

    Existing files are overwritten.  Raises SystemRefusal where the archive is damaged, where a
    member would be written outside the folder (then nothing is written), or where the folder cannot
    be written."""
    with os_errors_refused(target):
        target.mkdir(parents=True, exist_ok=True)
        try:
            if archive.name.endswith(".tar.gz"):
                return _unpack_tar(archive, target)
            with gzip.open(archive) as content:
                return [_write_member(content, target, archive.stem)]
        except CORRUPT_ARCHIVE_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise SystemRefusal(f"{archive} cannot be unpacked: {reason}") from None


def _unpack_tar(archive: Path, target: Path) -> list[str]:
    with tarfile.open(archive, "r:gz") as tar:
        members = tar.getmembers()
        for member in members:
            if reason := _unsafe_reason(member):
                raise SystemRefusal(
                    f"{archive} contains {member.name!r}, which {reason}; nothing was unpacked"
                )
        # Of members with the same name the last one counts.
        files = {member.name: member for member in members if member.isfile()}
        names = []
        for name, member in files.items():
            content = tar.extractfile(member)
            assert content is not None  # only of members that are not files
            names.append(_write_member(content, target, name))
        return names


def _unsafe_reason(member: tarfile.TarInfo) -> str | None:
    """Why a member must not be unpacked; None where it may be."""
    if not (member.isfile() or member.isdir()):
        return "is neither a file nor a folder"
    posix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        return "would be written outside the target folder"
    return None


def _write_member(content: IO[bytes] | gzip.GzipFile, target: Path, name: str) -> str:
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    return name
