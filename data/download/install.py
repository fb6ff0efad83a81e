"""Published data sets on disk: what is missing is fetched, checked, unpacked and put in its place.

Until it is right it lies in <data root>/.installing-<data set>, a folder that one process holds;
others that install the same data set wait for it.  No file gets a name that a reader opens before
its md5 was compared.
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
    """Make the files of `spec.published` right; what is right already is not touched.

    mirrors: addresses or folders that hold the archives, by their name or as they lie below a data
    root; they are asked in this order, before the hosts of `spec.archives`.  What has a needed name
    and is not the published file is renamed to <name>.old1.  Raises UserError where it cannot be
    done; the next call goes on with what this one has fetched."""
    if not missing_or_wrong_files(root, spec):
        return
    stage = Path(os.path.expanduser(root), f".installing-{name}").absolute()
    with os_errors_refused(stage):
        made = make_folder(stage)
    try:
        with wait_for_lease(stage, "the folder", partial(_log_wait, name)) as lease:
            try:
                for archive in spec.list_archives():
                    if missing_or_wrong_files(root, spec).intersection(
                        paths_under_root(root, archive.contents)
                    ):
                        _install_archive(archive, spec, stage, mirrors, limits, lease)
                for part in stage.glob("*.part"):  # of a file that came in another way
                    part.unlink(missing_ok=True)
            finally:
                lease.discard()
    finally:
        remove_empty_folders(list(dict.fromkeys([stage, *made])))
    if left := sorted(missing_or_wrong_files(root, spec)):
        raise SystemRefusal(f"no archive of {name} holds the published {left[0]}")


def missing_or_wrong_files(root: str, spec: DatasetSpec) -> set[Path]:
    """The files that are missing, or not the published ones by their md5, where that is known."""
    with os_errors_refused(Path(root), "read"):
        found = file_statuses(root, spec.published_md5)
        missing = {path for path in spec.list_files(root) if not path.exists()}
    return missing | {path for path, state in found.items() if state != MD5_RIGHT}


def _log_wait(name: str, who: str) -> None:
    print_line(f"{name}: waiting, {who}")


def _install_archive(
    archive: Archive,
    spec: DatasetSpec,
    stage: Path,
    mirrors: Sequence[str],
    limits: DownloadLimits,
    lease: Lease,
) -> None:
    """Fetch an archive, unless it is there, and put what it holds in its place."""
    root, target = stage.parent, stage.parent / archive.path
    if not _has_md5(target, archive.md5):
        part = stage / f"{target.name}.part"
        download_archive(archive, part, _list_sources(archive, mirrors), limits)
        _move_into_place(part, target, lease)
        print_line(f"{target.name}: here, {archive.size / 2**20:.1f} MiB")
    if archive.path in archive.contents:
        return
    unpacked = stage / "unpacked"
    known = dict(
        zip(paths_under_root(root, spec.published_md5), spec.published_md5.values(), strict=True)
    )
    try:
        files = {name: target.parent / name for name in unpack_archive(target, unpacked)}
        for name, place in files.items():
            if place in known and not _has_md5(unpacked / name, known[place]):
                raise SystemRefusal(f"{target} holds another {name} than the published one")
        for name, place in files.items():
            if not (_has_md5(place, known[place]) if place in known else place.exists()):
                _move_into_place(unpacked / name, place, lease)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _has_md5(path: Path, md5: str) -> bool:
    with os_errors_refused(path, "read"):
        return path.is_file() and file_md5(path) == md5


def _list_sources(archive: Archive, mirrors: Sequence[str]) -> list[str]:
    """Where an archive may be had, the first to ask first."""
    found = []
    for mirror in mirrors:
        base = mirror if is_url(mirror) else os.path.expanduser(mirror)
        names = (archive.path, archive.path.rpartition("/")[2])
        found += [f"{base.rstrip('/')}/{name}" for name in names]
    return [*found, *archive.urls]


def _move_into_place(source: Path, target: Path, lease: Lease) -> None:
    """Give a whole file its name; what has it is renamed."""
    with os_errors_refused(target), defer_signals():
        make_folder(target.parent)
        with open(source, "rb") as file:
            os.fsync(file.fileno())  # or a loss of power could leave the name without its bytes
        lease.require_held()
        if os.path.lexists(target):
            number = 1
            while os.path.lexists(aside := target.with_name(f"{target.name}.old{number}")):
                number += 1
            target.rename(aside)
            print_line(f"{target} is not the published file: it is {aside.name} from now on")
        os.replace(source, target)
