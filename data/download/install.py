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

from data.download.checksums import RIGHT, md5_of, states
from data.download.http_fetch import LIMITS, Limits, fetch, is_address
from data.download.published_files import below
from data.download.unpack import unpack
from data.spec import Archive, DatasetSpec
from utils.console import say
from utils.errors import Refused
from utils.files import make_folder, remove_empty, told
from utils.lease import Lease
from utils.lease_wait import lease_of
from utils.signals import uninterrupted


def install(
    name: str,
    spec: DatasetSpec,
    root: str,
    mirrors: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> None:
    """Make the files of `spec.published` right; what is right already is not touched.

    mirrors: addresses or folders that hold the archives, by their name or as they lie below a data
    root; they are asked in this order, before the hosts of `spec.archives`.  What has a needed name
    and is not the published file is renamed to <name>.old1.  Raises UserError where it cannot be
    done; the next call goes on with what this one has fetched."""
    if not lacking(root, spec):
        return
    stage = Path(os.path.expanduser(root), f".installing-{name}").absolute()
    with told(stage):
        made = make_folder(stage)
    try:
        with lease_of(stage, "the folder", partial(_tell_wait, name)) as lease:
            try:
                for archive in spec.archives():
                    if lacking(root, spec).intersection(below(root, archive.holds)):
                        _install(archive, spec, stage, mirrors, limits, lease)
                for part in stage.glob("*.part"):  # of a file that came in another way
                    part.unlink(missing_ok=True)
            finally:
                lease.undo()
    finally:
        remove_empty(list(dict.fromkeys([stage, *made])))
    if left := sorted(lacking(root, spec)):
        raise Refused(f"no archive of {name} holds the published {left[0]}")


def lacking(root: str, spec: DatasetSpec) -> set[Path]:
    """The files that are missing, or not the published ones by their md5, where that is known."""
    with told(Path(root), "read"):
        found = states(root, spec.published)
        missing = {path for path in spec.files(root) if not path.exists()}
    return missing | {path for path, state in found.items() if state != RIGHT}


def _tell_wait(name: str, who: str) -> None:
    say(f"{name}: waiting, {who}")


def _install(
    archive: Archive,
    spec: DatasetSpec,
    stage: Path,
    mirrors: Sequence[str],
    limits: Limits,
    lease: Lease,
) -> None:
    """Fetch an archive, unless it is there, and put what it holds in its place."""
    root, target = stage.parent, stage.parent / archive.path
    if not _is(target, archive.md5):
        part = stage / f"{target.name}.part"
        fetch(archive, part, _sources(archive, mirrors), limits)
        _place(part, target, lease)
        say(f"{target.name}: here, {archive.size / 2**20:.1f} MiB")
    if archive.path in archive.holds:
        return
    unpacked = stage / "unpacked"
    known = dict(zip(below(root, spec.published), spec.published.values(), strict=True))
    try:
        files = {name: target.parent / name for name in unpack(target, unpacked)}
        for name, place in files.items():
            if place in known and not _is(unpacked / name, known[place]):
                raise Refused(f"{target} holds another {name} than the published one")
        for name, place in files.items():
            if not (_is(place, known[place]) if place in known else place.exists()):
                _place(unpacked / name, place, lease)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _is(path: Path, md5: str) -> bool:
    with told(path, "read"):
        return path.is_file() and md5_of(path) == md5


def _sources(archive: Archive, mirrors: Sequence[str]) -> list[str]:
    """Where an archive may be had, the first to ask first."""
    found = []
    for mirror in mirrors:
        base = mirror if is_address(mirror) else os.path.expanduser(mirror)
        names = (archive.path, archive.path.rpartition("/")[2])
        found += [f"{base.rstrip('/')}/{name}" for name in names]
    return [*found, *archive.addresses]


def _place(source: Path, target: Path, lease: Lease) -> None:
    """Give a whole file its name; what has it is renamed."""
    with told(target), uninterrupted():
        make_folder(target.parent)
        with open(source, "rb") as file:
            os.fsync(file.fileno())  # or a loss of power could leave the name without its bytes
        lease.require()
        if os.path.lexists(target):
            number = 1
            while os.path.lexists(aside := target.with_name(f"{target.name}.old{number}")):
                number += 1
            target.rename(aside)
            say(f"{target} is not the published file: it is {aside.name} from now on")
        os.replace(source, target)
