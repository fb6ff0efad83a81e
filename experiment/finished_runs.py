"""Recognises finished runs by the files they left, without reading the data or the checkpoint."""

import csv
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiment import identity, result_tables
from labeling.answer_files import answer_digests, has_new_labels_file
from utils import fingerprints
from utils.console import print_line
from utils.errors import UserError
from utils.files import os_errors_refused, read_json


def match_finished_run(
    folders: Iterable[Path],
    options: dict[str, Any],
    current_sources: Callable[[str], dict[str, Any]],
    cycles: int,
    is_own_name: Callable[[str, dict[str, Any]], bool],
    stop_when: str | None = None,
) -> Path | None:
    """The folder of a finished run with these options and data and at least this many cycles, or
    that this --stop-when ended earlier.

    folders: those that the run may have.
    options: the part of the identity that consists of options.
    current_sources: fingerprint of the data -> sizes and times of the files that would be read
    (utils.fingerprints.file_stats).
    is_own_name: whether a folder above may have its name from a run with this identity.

    None if there is no such run, if a file has been touched since, or if only reading the data
    could tell."""
    for folder in folders:
        try:
            config = read_run_config(folder) or {}
            run_identity, finished = read_identity(config, folder), config.get("finished")
        except UserError:
            continue
        if not isinstance(finished, dict) or type(finished.get("cycles")) is not int:
            continue  # damaged or not finished
        same_options = (
            run_identity["options"] == options
            and run_identity.get("results") == identity.RESULTS_VERSION
        )
        is_stopped = "stopped" in finished and config.get("stop_when") == stop_when
        is_done = finished["cycles"] >= cycles or is_stopped
        if not (same_options and is_done and is_own_name(folder.parent.name, run_identity)):
            continue
        same_sources = config.get("sources") == current_sources(run_identity["data"])
        # Only reading the data tells whether a new labels.csv corrects an answer.
        if same_sources and has_same_contents(folder, finished):
            return folder
    return None


def run_folder_name(run_identity: dict[str, Any], exp_name: str | None) -> str:
    """The name of the folder of an identity, the same for all its splits."""
    name = identity.identity_digest(run_identity, without=("split",))
    return f"{exp_name}-{name}" if exp_name else name


def read_run_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a run folder; None if there is none.

    Raises UserError if it is damaged, SystemRefusal if it cannot be read."""
    path = folder / "config.json"
    try:
        with os_errors_refused(path, "read"):
            try:
                config = read_json(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): use another --run-dir") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} was not written by a run: use another --run-dir")
    return config


def require_run_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder that a user has named.

    Raises UserError, which says what the folder is instead, if there is none, or if it is damaged;
    SystemRefusal if it cannot be read."""
    config = read_run_config(folder)
    if config is None:
        raise _no_run_error(folder)
    read_identity(config, folder)
    if type(config.get("al_nb_cycles")) is not int:
        raise UserError(f"{folder} is not a run folder (config.json was not written by a run)")
    return config


def _no_run_error(folder: Path) -> UserError:
    """Why a path is not a run folder, and what to give instead."""
    if not os.path.lexists(folder):
        return UserError(f"{folder} does not exist: give the folder of a run, .../split0")
    if not folder.is_dir():
        return UserError(f"{folder} is not a folder: give the folder of a run, .../split0")
    if (example := _first_run_below(folder)) is not None:
        return UserError(
            f"{folder} is not a run folder, but has runs below it: give one, such as {example}"
        )
    return UserError(
        f"{folder} is not a run folder (no config.json): give the folder of a run, .../split0"
    )


def _first_run_below(folder: Path) -> Path | None:
    """A run folder below this folder, by its config.json and log.txt."""
    for path, folders, files in os.walk(folder):
        folders.sort()
        if {"config.json", "log.txt"} <= set(files):
            return Path(path)
    return None


def read_identity(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The identity in the config.json of a run folder.

    Raises UserError if there is none: a run has not written the file, or it was edited."""
    found = config.get("identity")
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("options"), dict)
        or not isinstance(found.get("data"), str)
    ):
        raise UserError(f"{folder} is not a run folder (config.json was not written by a run)")
    return found


def content_digests(folder: Path) -> dict[str, Any]:
    """What identifies the contents of a finished run's files, to notice later changes.

    The tables by their bytes, the checkpoint by its size and time."""
    digests: dict[str, Any] = {
        "checkpoint.pt": fingerprints.size_and_mtime(folder / "checkpoint.pt")
    }
    for name in ("results.csv", "acquired.csv", "timing.csv"):
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def has_same_contents(folder: Path, finished: dict[str, Any]) -> bool:
    """Whether nobody has changed a finished run's files or corrected an answer in it.

    finished: the record in config.json."""
    try:
        if has_new_labels_file(folder) or finished.get("answers", {}) != answer_digests(folder):
            return False
        return finished.get("files") == content_digests(folder)
    except OSError:  # reported when the run reads the file
        return False


def print_results(folder: Path, message: str) -> None:
    """Print the table of accuracies, and the message with the path of results.csv."""
    with open(folder / "results.csv", newline="") as file:
        print_line(result_tables.format_accuracy_table(list(csv.DictReader(file))))
    print_line(f"{message}. Results: {folder / 'results.csv'}")
