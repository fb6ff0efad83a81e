"""Install published data sets: download what is missing, check, unpack and move it into place.

Until its MD5 has been checked, a file is kept in <data root>/.installing-<data set> and does not
have a name that a reader opens.  One process at a time holds that folder; others that install the
same data set wait for it.
"""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data.download.checksums import MD5_RIGHT, file_md5, file_statuses
from data.download.http_fetch import DEFAULT_LIMITS, DownloadLimits, download_archive, is_url
from data.download.published_files import paths_under_root
from data.download.unpack import unpack_archive
from data.spec import Archive, DatasetSpec
from utils.console import print_line
from utils.errors import SystemRefusal
from utils.files import make_folder, os_errors_refused, remove_empty_folders
from utils.lease import Lease, wait_for_lease
from utils.signals import defer_signals


def install_dataset(
    name: str,
    spec: DatasetSpec,
    root: str,
    mirrors: Sequence[str] = (),
    limits: DownloadLimits = DEFAULT_LIMITS,
) -> None:
    """Install the files of a published data set; files that are right already are not touched.

    mirrors: URLs or folders that have the archives, by their names or with the layout of a data
    root; they are tried in this order, before the hosts of `spec.list_archives()`.
    A file that has a needed name but is not the published file is renamed to <name>.old1.
    Raises UserError where the data set cannot be installed; the next call resumes the download."""
    if not missing_or_wrong_files(root, spec):
        return
    assert spec.list_archives is not None  # only data sets with archives are installed
    stage = Path(os.path.expanduser(root), f".installing-{name}").absolute()
    with os_errors_refused(stage):
        new_folders = make_folder(stage)
    try:
        with wait_for_lease(stage, "the folder", partial(_log_wait, name)) as lease:
            try:
                for archive in spec.list_archives():
                    if missing_or_wrong_files(root, spec).intersection(
                        paths_under_root(root, archive.contents)
                    ):
                        _install_archive(archive, spec, stage, mirrors, limits, lease)
                for part in stage.glob("*.part"):  # of archives that have become unnecessary
                    part.unlink(missing_ok=True)
            finally:
                lease.discard()
    finally:
        remove_empty_folders(list(dict.fromkeys([stage, *new_folders])))
    if remaining := sorted(missing_or_wrong_files(root, spec)):
        raise SystemRefusal(f"no archive of {name} contains the published {remaining[0]}")


def missing_or_wrong_files(root: str, spec: DatasetSpec) -> set[Path]:
    """The files that are missing, or whose MD5 is known and not the published one."""
    assert spec.list_files is not None  # every published data set has it
    with os_errors_refused(Path(root), "read"):
        statuses = file_statuses(root, spec.published_md5)
        missing = {path for path in spec.list_files(root) if not path.exists()}
    return missing | {path for path, status in statuses.items() if status != MD5_RIGHT}


def _log_wait(name: str, holder: str) -> None:
    print_line(f"{name}: waiting, {holder}")


def _install_archive(
    archive: Archive,
    spec: DatasetSpec,
    stage: Path,
    mirrors: Sequence[str],
    limits: DownloadLimits,
    lease: Lease,
) -> None:
    """Download an archive unless it exists, and move its contents into place."""
    root, target = stage.parent, stage.parent / archive.path
    if not _has_md5(target, archive.md5):
        part = stage / f"{target.name}.part"
        download_archive(archive, part, _list_sources(archive, mirrors), limits)
        _move_into_place(part, target, lease)
        print_line(f"{target.name}: downloaded, {archive.size / 2**20:.1f} MiB")
    if archive.path in archive.contents:
        return
    unpacked = stage / "unpacked"
    published = dict(
        zip(paths_under_root(root, spec.published_md5), spec.published_md5.values(), strict=True)
    )
    try:
        files = {name: target.parent / name for name in unpack_archive(target, unpacked)}
        for name, path in files.items():
            if path in published and not _has_md5(unpacked / name, published[path]):
                raise SystemRefusal(f"{target} contains {name}, but not the published file")
        for name, path in files.items():
            is_right = _has_md5(path, published[path]) if path in published else path.exists()
            if not is_right:
                _move_into_place(unpacked / name, path, lease)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _has_md5(path: Path, md5: str) -> bool:
    with os_errors_refused(path, "read"):
        return path.is_file() and file_md5(path) == md5


def _list_sources(archive: Archive, mirrors: Sequence[str]) -> list[str]:
    """URLs and paths of an archive, in the order in which to try them."""
    sources = []
    for mirror in mirrors:
        base = mirror if is_url(mirror) else os.path.expanduser(mirror)
        names = (archive.path, archive.path.rpartition("/")[2])
        sources += [f"{base.rstrip('/')}/{name}" for name in names]
    return [*sources, *archive.urls]


def _move_into_place(source: Path, target: Path, lease: Lease) -> None:
    """Rename a complete file to its name; an existing file is renamed to <name>.old1 first."""
    with os_errors_refused(target), defer_signals():
        make_folder(target.parent)
        with open(source, "rb") as file:
            os.fsync(file.fileno())  # else a power failure could leave the name without the content
        lease.require_held()
        if os.path.lexists(target):
            number = 1
            while os.path.lexists(aside := target.with_name(f"{target.name}.old{number}")):
                number += 1
            target.rename(aside)
            print_line(f"{target} is not the published file; renamed to {aside.name}")
        os.replace(source, target)
