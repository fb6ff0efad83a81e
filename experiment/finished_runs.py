"""Runs that are over: known by what they left, without reading the data or the checkpoint."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from experiment import identity, result_tables
from utils import fingerprints
from utils.console import print_line
from utils.errors import UserError
from utils.files import os_errors_refused


def match_finished_run(
    pattern: Path, options: dict, sources: Callable, cycles: int, exp_name: str | None
) -> Path | None:
    """The folder of a run that has these options and data and has finished so many cycles.

    pattern: where it would be, with * for the name that the data enter; sources: a fingerprint of
    data -> sizes and times of the files that would be read (fingerprints.stamps).  None where there is
    no such run, where a file has been touched since, and where only the data could tell."""
    root = Path(pattern.anchor or ".")
    try:
        folders = sorted(root.glob(str(pattern.relative_to(pattern.anchor))))
    except OSError:  # what is wrong with it is said where it is made
        return None
    for folder in folders:
        try:
            config = read_run_config(folder) or {}
            who, done = config["identity"], config["finished"]
        except (UserError, KeyError):
            continue  # torn, or not over
        same = who["options"] == options and who["results"] == identity.RESULTS_VERSION
        named = "*" not in str(pattern) or folder.parent.name == run_folder_name(who, exp_name)
        unchanged = config["sources"] == sources(who["data"]) and done["files"] == content_digests(
            folder
        )
        if same and named and unchanged and done["cycles"] >= cycles:
            return folder
    return None


def run_folder_name(run_identity: dict, exp_name: str | None) -> str:
    """The name of an identity's folder, the same for all its splits."""
    name = identity.identity_digest(run_identity, without=("split",))
    return f"{exp_name}-{name}" if exp_name else name


def read_run_config(folder: Path) -> dict | None:
    """A run folder's config.json; None where there is none.  Raises UserError for a torn one."""
    path = folder / "config.json"
    try:
        with os_errors_refused(path, "read"):
            try:
                config = json.loads(path.read_text())
            except (FileNotFoundError, NotADirectoryError):
                return None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): name another --run-dir") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a run's: name another --run-dir")
    return config


def content_digests(folder: Path) -> dict:
    """What a finished run's files hold, to notice when one was changed afterwards: the tables by
    their bytes, the checkpoint by its size and time."""
    found = {"checkpoint.pt": fingerprints.size_and_mtime(folder / "checkpoint.pt")}
    for name in ("results.csv", "acquired.csv", "timing.csv"):
        path = folder / name
        whole = path.read_bytes() if path.is_file() else b""
        found[name] = hashlib.sha256(whole).hexdigest()
    return found


def print_results(folder: Path, word: str) -> None:
    """The closing lines on the terminal."""
    with open(folder / "results.csv", newline="") as file:
        print_line(result_tables.format_accuracy_table(list(csv.DictReader(file))))
    print_line(f"{word}. Results: {folder / 'results.csv'}")
