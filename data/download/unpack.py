"""Archives without their risk: a tar may name any place of the disk, and links that lead there.

Nothing is written before every member is known to be a file or a folder below the one that the
archive is unpacked into.
"""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from utils.errors import SystemRefusal
from utils.files import os_errors_refused

CORRUPT_ARCHIVE_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError)


def unpack_archive(archive: Path, into: Path) -> list[str]:
    """Unpack a .tar.gz, or the one file of a .gz, into a folder; -> the files, relative to it.

    What is there already is written over.  Raises Refused where the archive is damaged or holds
    what would be written elsewhere (then nothing is), or where it cannot be written."""
    with os_errors_refused(into):
        into.mkdir(parents=True, exist_ok=True)
        try:
            if archive.name.endswith(".tar.gz"):
                return _unpack_tar(archive, into)
            with gzip.open(archive) as packed:
                return [_write_member(packed, into, archive.stem)]
        except CORRUPT_ARCHIVE_ERRORS as error:
            why = str(error) or type(error).__name__
            raise SystemRefusal(f"{archive} cannot be unpacked: {why}") from None


def _unpack_tar(archive: Path, into: Path) -> list[str]:
    with tarfile.open(archive, "r:gz") as tar:
        members = tar.getmembers()
        for member in members:
            if why := _unsafe_reason(member):
                raise SystemRefusal(
                    f"{archive} holds {member.name!r}, {why}: nothing of it is unpacked"
                )
        files = {member.name: member for member in members if member.isfile()}  # a later one wins
        return [_write_member(tar.extractfile(file), into, name) for name, file in files.items()]


def _unsafe_reason(member: tarfile.TarInfo) -> str | None:
    """Why a member must not be written, if so."""
    if not (member.isfile() or member.isdir()):
        return "neither a file nor a folder"
    posix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        return "which would be written elsewhere"
    return None


def _write_member(packed, into: Path, name: str) -> str:
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return name
