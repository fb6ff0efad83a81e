"""A folder of feature vectors that is written by shards, so that a kill loses one shard at most.

    photos.features.part/       while it is being written
        features.rows           all rows of the training part, in place; the same for each part
        progress.json           the shards that are complete
    photos.features/            complete: as --dataset features reads it
        features.npy  labels.npy  paths.npy  class_names.npy  test_features.npy ...
        encoding.json           which encoder and which images these are

A shard is written, flushed to the disk, and then entered in progress.json.  Batches begin at
multiples of the batch size, which progress.json records, so that a resumed encoding computes what
an uninterrupted one does.  The folder gets its name when all is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.encode_shards import EncodeSettings, encode_shards
from data.encoder_inputs import EncoderInputs, InputPart
from data.image_tree import format_names
from utils.console import CountProgressBar, print_line, to_one_line
from utils.errors import UserError
from utils.files import json_bytes, os_errors_refused, read_json, write_atomically
from utils.lease import LEASE_FOLDER, Lease, wait_for_lease
from utils.signals import defer_signals

SHARD_IMAGES = 256  # or one batch, where that is larger
DESCRIPTION_FILE, PROGRESS_FILE = "encoding.json", "progress.json"
DESCRIPTION_FIELDS: dict[str, type] = {  # those that are read again, and their types
    **{"key": dict, "inputs": str, "stamp": str, "unreadable": dict},
    **{"image_folder": str, "counts": dict},
}
FEATURES, ROWS_SUFFIX = "features", ".rows"
COPY_ROWS = 65_536


class _Shard(NamedTuple):
    """A complete shard: the stamp of its images, a digest of what the encoder saw of each, and
    which could not be read and why."""

    stamp: str
    digest: str
    unreadable: dict[str, str]

    @classmethod
    def from_json(cls, stored: Any) -> _Shard:
        """Raises ValueError or TypeError if this is not what progress.json has of a shard."""
        stamp, digest, unreadable = stored
        texts = (stamp, digest, *unreadable.values())
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        if not all(map(str.isdecimal, unreadable)):
            raise ValueError
        return cls(stamp, digest, unreadable)


def read_description(folder: Path) -> dict[str, Any] | None:
    """encoding.json of a complete folder; None where there is none."""
    try:
        content = read_json(folder / DESCRIPTION_FILE)
    except (OSError, ValueError):
        return None
    return content if _is_description(content) else None


def _is_description(content: Any) -> bool:
    """Whether the content of a JSON file is that of encoding.json, as far as it is read here."""
    if not isinstance(content, dict) or any(
        not isinstance(content.get(name), kind) for name, kind in DESCRIPTION_FIELDS.items()
    ):
        return False
    faults = content["unreadable"].values()
    return (
        isinstance(content["key"].get("encoder"), dict)
        and all(type(count) is int for count in content["counts"].values())
        and all(isinstance(part, dict) and all(map(str.isdecimal, part)) for part in faults)
    )


def write_features(
    out: Path, inputs: EncoderInputs, settings: EncodeSettings, executor: Executor
) -> dict[str, Any]:
    """Encode the images into the folder `out`, or go on where an earlier call was interrupted.

    -> the contents of encoding.json.  executor: threads that decode images.
    Raises UserError where `out` holds something else, or where images cannot be read, up to some of
    them by name; SystemRefusal where the system refuses a write."""
    key, stamp = {"encoder": settings.description, "images": inputs.list_name}, inputs.stamp
    if (existing := _find_complete(out, key, stamp)) is not None:
        return existing
    part_folder = out.with_name(out.name + ".part")
    lease = wait_for_lease(part_folder, "encoding", lambda holder: print_line(f"waiting: {holder}"))
    with lease:
        if (existing := _find_complete(out, key, stamp)) is not None:  # written meanwhile
            lease.discard()
            part_folder.rmdir()
            return existing
        is_whole = not (part_folder / PROGRESS_FILE).exists()  # killed just before the renaming
        description = _find_complete(part_folder, key, stamp, missing_ok=True) if is_whole else None
        if description is None:
            progress = _Progress.open(part_folder, key, settings.batch_size, lease)
            for part in inputs.parts:
                _write_part(part_folder, part, settings, progress, executor)
            _require_readable(inputs, progress, settings.skip_corrupt)
            description = _write_other_files(part_folder, inputs, settings, progress)
        with os_errors_refused(out), defer_signals():
            lease.require_held()
            (part_folder / PROGRESS_FILE).unlink(missing_ok=True)
            for leftover in part_folder.glob(".*.*"):  # of writes that were killed
                leftover.unlink()
            lease.discard()
            shutil.rmtree(part_folder / LEASE_FOLDER, ignore_errors=True)  # of killed owners
            os.rename(part_folder, out)
    return description


def _find_complete(
    out: Path, key: dict[str, Any], stamp: str, missing_ok: bool = False
) -> dict[str, Any] | None:
    """encoding.json of the folder if it holds these features, None if there is no folder.

    stamp: of the images; missing_ok: return None as well where the folder has no encoding.json.
    Raises UserError if it holds anything else."""
    if not os.path.lexists(out):
        return None
    description = read_description(out)
    if description is None and missing_ok:
        return None
    if description is None:
        raise UserError(f"{out} exists and was not written by an encoder: use another name")
    if description["key"] != key:
        raise UserError(
            f"{out} holds features {_difference(description['key'], key)}: delete it, or use "
            "another name"
        )
    if description["stamp"] != stamp:
        raise UserError(
            f"{out} holds features of images that have changed since: delete it, or use another "
            "name"
        )
    return description


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first difference of two keys, in words."""
    for name, value in now["encoder"].items():
        old = before["encoder"].get(name)
        if old != value:
            return f"made with other {name.replace('_', ' ')} ({old}, not {value})"
    return "of other images"


class _Progress:
    """progress.json: which shards of which part are complete."""

    def __init__(self, folder: Path, key: dict[str, Any], batch_size: int, lease: Lease):
        self.folder, self.key, self.batch_size, self.lease = folder, key, batch_size, lease
        self.shards: dict[str, dict[int, _Shard]] = {}

    @classmethod
    def open(cls, folder: Path, key: dict[str, Any], batch_size: int, lease: Lease) -> _Progress:
        """Raises UserError where the folder belongs to another encoding."""
        progress = cls(folder, key, batch_size, lease)
        path = folder / PROGRESS_FILE
        try:
            stored = read_json(path)
            stored_key, progress.batch_size = stored["key"], int(stored["batch_size"])
            progress.shards = {
                prefix: {int(start): _Shard.from_json(shard) for start, shard in shards.items()}
                for prefix, shards in stored["shards"].items()
            }
            starts = [start for shards in progress.shards.values() for start in shards]
            is_possible = progress.batch_size > 0 and min(starts, default=0) >= 0
            if not is_possible or not isinstance(stored_key["encoder"], dict):
                raise ValueError
        except FileNotFoundError:
            for leftover in folder.glob(f"*{ROWS_SUFFIX}"):
                leftover.unlink()
            return progress
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise UserError(f"{path} is damaged: delete {folder} to encode again") from None
        if stored_key != key:
            raise UserError(
                f"{folder} holds an interrupted encoding {_difference(stored_key, key)}: delete "
                "it, or use another name"
            )
        if progress.batch_size != batch_size:
            print_line(f"resuming with the batch size of before, {progress.batch_size}")
        return progress

    def add(self, prefix: str, start: int, shard: _Shard) -> None:
        """Record a shard, whose rows are on the disk."""
        self.lease.require_held()
        self.shards.setdefault(prefix, {})[start] = shard
        content = {"key": self.key, "batch_size": self.batch_size, "shards": self.shards}
        write_atomically(self.folder / PROGRESS_FILE, json.dumps(content).encode())

    @property
    def shard_images(self) -> int:
        """Images per shard, a multiple of the batch size."""
        return max(SHARD_IMAGES // self.batch_size, 1) * self.batch_size

    def unreadable(self, prefix: str) -> dict[int, str]:
        """Position in the part -> why the image cannot be read."""
        shards = self.shards.get(prefix, {})
        return {
            int(position): reason
            for start in sorted(shards)
            for position, reason in shards[start].unreadable.items()
        }


def _write_part(
    folder: Path,
    part: InputPart,
    settings: EncodeSettings,
    progress: _Progress,
    executor: Executor,
) -> None:
    """Write the rows of a part that are missing."""
    count, size = len(part.images), progress.shard_images
    rows_file = folder / f"{part.prefix}{FEATURES}{ROWS_SUFFIX}"
    header = _npy_header(count, settings.dimension)
    total = len(header) + 4 * count * settings.dimension
    target = folder / f"{part.prefix}{FEATURES}.npy"
    is_kept = rows_file.exists() or target.exists()
    complete = progress.shards.get(part.prefix, {}) if is_kept else {}
    shards = [range(start, min(start + size, count)) for start in range(0, count, size)]
    stamps = {shard.start: part.images.stamp(shard) for shard in shards}
    missing = [
        shard
        for shard in shards
        if shard.start not in complete or complete[shard.start].stamp != stamps[shard.start]
    ]
    if target.exists():  # killed when all was written but the other files
        if not missing:
            return
        target.unlink()  # an image has changed meanwhile, and unreadable ones have no row
        complete, missing = {}, shards
    with os_errors_refused(rows_file), open(rows_file, "r+b" if complete else "w+b") as file:
        if not complete:
            file.write(header)
            os.posix_fallocate(file.fileno(), 0, total)  # a full disk shows now, not after hours
        name = f"encoding the {part.prefix.rstrip('_') or 'train'} part"
        done = count - sum(map(len, missing))
        with CountProgressBar(name, count, done) as bar:
            encoded = encode_shards(part.images, missing, settings, progress.batch_size, executor)
            for shard, rows, digest, unreadable in encoded:
                file.seek(len(header) + 4 * shard.start * settings.dimension)
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
                progress.add(
                    part.prefix, shard.start, _Shard(stamps[shard.start], digest, unreadable)
                )
                bar.update(len(shard))


def _npy_header(count: int, dimension: int) -> bytes:
    """The start of an .npy file of (count, dimension) float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (count, dimension)}
    )
    return header.getvalue()


def _require_readable(inputs: EncoderInputs, progress: _Progress, skip: bool) -> None:
    """Raises UserError where images cannot be read and `skip` is false, and where none can."""
    faults = [
        f"{part.paths[position] if part.paths else part.images.describe(position)} ({reason})"
        for part in inputs.parts
        for position, reason in progress.unreadable(part.prefix).items()
    ]
    count = sum(len(part.images) for part in inputs.parts)
    if not faults:
        return
    line = f"{len(faults)} of {count} images in {inputs.source} cannot be read: "
    line += to_one_line(format_names(faults))
    if not skip:
        raise UserError(f"{line}; repair them or use --skip-corrupt, then repeat the command")
    print_line(f"{line}; they are left out")


def _write_other_files(
    folder: Path, inputs: EncoderInputs, settings: EncodeSettings, progress: _Progress
) -> dict[str, Any]:
    """Everything but the rows; the rows get their name.  -> the contents of encoding.json."""
    digest, counts = hashlib.sha256(), {}
    for part in inputs.parts:
        shards = progress.shards[part.prefix]
        for start in sorted(shards):
            digest.update(shards[start].digest.encode())
        readable = np.setdiff1d(np.arange(len(part.images)), list(progress.unreadable(part.prefix)))
        _name_rows(folder, part.prefix, readable, len(part.images), settings.dimension)
        _save_array(folder / f"{part.prefix}labels.npy", part.labels[readable])
        if part.paths:
            chosen = np.array([part.paths[position] for position in readable], np.str_)
            _save_array(folder / f"{part.prefix}paths.npy", chosen)
        counts[part.prefix.rstrip("_") or "train"] = len(readable)
        digest.update(part.labels[readable].tobytes())
    if inputs.class_names:
        _save_array(folder / "class_names.npy", np.array(inputs.class_names, np.str_))
    description = {
        "key": progress.key,
        "inputs": digest.hexdigest()[:16],
        "stamp": inputs.stamp,
        "unreadable": {part.prefix: progress.unreadable(part.prefix) for part in inputs.parts},
        "image_folder": inputs.image_folder,
        "batch_size": progress.batch_size,
        "counts": counts,
        "value_scales": {kind: scale.to_dict() for kind, scale in inputs.scales.items()},
        "page": inputs.page,
    }
    write_atomically(folder / DESCRIPTION_FILE, json_bytes(description))
    return description


def _save_array(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_atomically(path, content.getvalue())


def _name_rows(folder: Path, prefix: str, readable: np.ndarray, count: int, dimension: int) -> None:
    """<prefix>features.rows becomes <prefix>features.npy, without the rows of unreadable images.

    Nothing is done where that has been done already."""
    rows_file, target = (
        folder / f"{prefix}{FEATURES}{ROWS_SUFFIX}",
        folder / f"{prefix}features.npy",
    )
    if target.exists():
        rows_file.unlink(missing_ok=True)
        return
    with os_errors_refused(target):
        if len(readable) == count:
            os.rename(rows_file, target)
            return
        rows = np.load(rows_file, mmap_mode="r", allow_pickle=False)
        shorter = folder / f"{prefix}{FEATURES}.shorter"
        with open(shorter, "wb") as file:
            file.write(_npy_header(len(readable), dimension))
            for start in range(0, len(readable), COPY_ROWS):
                file.write(rows[readable[start : start + COPY_ROWS]].tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.rename(shorter, target)
        rows_file.unlink()
