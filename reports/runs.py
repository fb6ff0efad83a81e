"""Reads the finished runs below a folder, and groups those that differ only in split and seed."""

import io
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.identity import identity_digest
from reports import group_names
from utils.errors import UserError
from utils.files import parse_json
from utils.lease import LEASE_FOLDER

MEASURES = ("top1", "top5", "val_top1", "val_top5", "pseudo_accuracy")  # in percent
COUNT_COLUMNS = ("steps", "pseudo_labels")  # further columns of results.csv, read if present
ESTIMATES = ("estimated_accuracy", "estimated_low", "estimated_high")  # of top1; may be empty
UNFINISHED_NOTE_ENDING = "cycles are done"  # of the note on an unfinished run
_REQUIRED_COLUMNS = ("cycle", "labeled", "top1")  # of results.csv, without empty cells
_IDENTITY_TYPES = {"dataset": str, "al_method": str, "split": int, "seed": int}
_OLD_FOLDER_PATTERN = re.compile(r"\.old\d+$")  # folders that --resume False has set aside


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run: its folder, its config.json, and its results, one row per cycle."""

    folder: Path
    config: dict[str, Any]
    results: pd.DataFrame

    @property
    def identity(self) -> dict[str, Any]:
        return self.config["identity"]

    @property
    def split(self) -> int:
        return self.identity["options"]["split"]

    @property
    def seed(self) -> int:
        return self.identity["options"]["seed"]

    @property
    def curve(self) -> pd.DataFrame:
        """One row per number of labels: of cycles without a new label, because a person could not
        tell the class of any image, the last one."""
        return self.results.drop_duplicates("labeled", keep="last")

    @property
    def group_key(self) -> str:
        """Equal for all runs that differ only in split and seed."""
        return identity_digest(self.identity, without=group_names.REPLICATE_OPTIONS)


@dataclass(frozen=True, eq=False)
class RunGroup:
    """The runs that differ only in split and seed, under a common name."""

    display_name: group_names.GroupName
    runs: tuple[RunResult, ...]

    @property
    def full_name(self) -> str:
        """The name for a line of text."""
        name = self.display_name
        return f"{name.dataset}, {name.training}, {name.method}"

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the first run; those of the others differ only in split and seed."""
        return self.runs[0].identity


def read_runs_below_all(folders: list[Path]) -> tuple[list[RunResult], list[str]]:
    """As read_runs_below; a run that is below several of the folders counts once."""
    runs: dict[str, RunResult] = {}
    notes: dict[str, None] = {}
    for folder in folders:
        runs_here, notes_here = read_runs_below(folder)
        for run in runs_here:
            runs.setdefault(os.path.realpath(run.folder), run)
        notes |= dict.fromkeys(notes_here)
    return list(runs.values()), list(notes)


def read_runs_below(folder: Path) -> tuple[list[RunResult], list[str]]:
    """The finished runs below a folder, and a note with the reason for each that is left out.

    Raises UserError if it is not a folder."""
    if os.path.isfile(folder):
        raise UserError(
            f"{folder} is a file, not a folder: give the folder of a run, or one that contains "
            f"runs, such as {folder.parent}"
        )
    if not os.path.isdir(folder):
        raise UserError(
            f"no finished run below {folder}, which does not exist: give a folder that contains "
            "runs, such as runs"
        )
    paths, notes = _find_run_folders(folder)
    runs = []
    for path in paths:
        try:
            config = _read_config(path)
            results = _read_results(path)
            if len(results) < _count_cycles(config):
                raise UserError(
                    f"{len(results)} of {config['al_nb_cycles']} {UNFINISHED_NOTE_ENDING}"
                )
        except UserError as error:
            notes.append(f"left out: {path}: {error}")
        else:
            runs.append(RunResult(path, config, results))
    return runs, notes


def _find_run_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """The folders that hold results.csv or have lost it, and notes on folders that do not open."""
    paths, notes = [], []

    def note_error(error: OSError) -> None:
        notes.append(f"left out: {error.filename}: it cannot be opened ({error.strerror})")

    for path, folders, files in os.walk(folder, onerror=note_error):
        folders[:] = sorted(name for name in folders if name != LEASE_FOLDER)  # owners come and go
        names = {*folders, *files}
        started = {"config.json", "log.txt"} <= names  # a run opens its log last
        is_old = _OLD_FOLDER_PATTERN.search(os.path.basename(path))
        if ("results.csv" in names or started) and not is_old:
            paths.append(Path(path))
    return paths, notes


def read_run_file(path: Path) -> bytes:
    """The content of a run's file.

    Raises UserError if it cannot be read or is not a regular file: reading a pipe or a device might
    never end."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path.name} is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"it has no {path.name}") from None
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror})") from None


def _read_config(folder: Path) -> dict[str, Any]:
    """A run's config.json.  Raises UserError if it is damaged or has no complete identity."""
    try:
        config = parse_json(read_run_file(folder / "config.json"))
    except ValueError as error:
        raise UserError(f"config.json cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise UserError("config.json is not that of a run")
    if "identity" not in config:
        raise UserError("config.json has no identity (made by an older version)")
    identity = config["identity"]
    options = identity.get("options") if isinstance(identity, dict) else None
    if not isinstance(options, dict):
        raise UserError("config.json has an identity without options")
    for name, kind in _IDENTITY_TYPES.items():
        if type(options.get(name)) is not kind:
            raise UserError(f"config.json has an identity without {name}")
    others = [value for name, value in identity.items() if name != "options"]
    if any(map(_is_nested, [*options.values(), *others])):
        raise UserError("config.json has an identity that does not consist of plain values")
    cycles = config.get("al_nb_cycles")
    if type(cycles) is not int or cycles < 1:
        raise UserError("config.json does not say how many cycles the run has")
    return config


def _count_cycles(config: dict[str, Any]) -> int:
    """How many cycles a finished run has: those that were requested, or up to --stop-when."""
    finished = config.get("finished")
    if isinstance(finished, dict) and "stopped" in finished:
        cycles = finished.get("cycles")
        if type(cycles) is int and cycles > 0:
            return cycles
    cycles = config["al_nb_cycles"]
    assert type(cycles) is int  # it passed _read_config
    return cycles


def _is_nested(value: Any) -> bool:
    """Whether a list or dict contains lists or dicts, which could be too deep for json.dumps."""
    values = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and any(isinstance(v, (dict, list)) for v in values)


def _read_results(folder: Path) -> pd.DataFrame:
    """The columns of a run's results.csv that a report uses.  Raises UserError if it is damaged."""
    content = read_run_file(folder / "results.csv")
    if b"\0" in content:  # pandas 2 would read a cell up to the zero byte: "6\0" as 6
        raise UserError("results.csv is garbled: it has a zero byte")
    try:
        results = pd.read_csv(io.BytesIO(content), low_memory=False)
    except pd.errors.EmptyDataError:
        raise UserError("results.csv is empty") from None
    except ValueError as error:
        raise UserError(f"results.csv cannot be read ({error})") from None
    missing = [name for name in _REQUIRED_COLUMNS if name not in results]
    if missing:
        raise UserError(f"results.csv has no column {missing[0]}")
    if results.empty:  # the run is in its first cycle
        return results
    _check_rows(results)
    measures = [name for name in (*MEASURES, *ESTIMATES) if name in results]
    for name in measures:
        _check_percentages(name, results[name])
    counts = [
        name
        for name in COUNT_COLUMNS
        if name in results and pd.api.types.is_numeric_dtype(results[name])
    ]
    return results[["labeled", *measures, *counts]]


def _check_rows(results: pd.DataFrame) -> None:
    """Raises UserError unless there is one row per cycle, and no label is lost."""
    if not isinstance(results.index, pd.RangeIndex):
        raise UserError("results.csv is garbled: a row has more cells than there are columns")
    if list(results["cycle"]) != list(range(len(results))):
        raise UserError("results.csv is garbled: cycle does not count from 0")
    labeled = results["labeled"]
    if not pd.api.types.is_integer_dtype(labeled) or not labeled.is_monotonic_increasing:
        raise UserError("results.csv is garbled: labeled is not a whole number that never falls")


def _check_percentages(name: str, values: pd.Series) -> None:
    """Raises UserError unless all are percentages; only required columns must not be empty."""
    is_numeric = pd.api.types.is_numeric_dtype(values)
    may_be_empty = values.isna() & (name not in _REQUIRED_COLUMNS)
    if not is_numeric or not (may_be_empty | values.between(0, 100)).all():
        raise UserError(f"results.csv is garbled: {name} is not a percentage")


def group_runs(runs: list[RunResult]) -> list[RunGroup]:
    """The groups in the order of the report, with distinct names."""
    by_key = defaultdict(list)
    for run in runs:
        by_key[run.group_key].append(run)
    names = group_names.make_group_names([members[0].identity for members in by_key.values()])
    groups = [
        RunGroup(name, tuple(members)) for name, members in zip(names, by_key.values(), strict=True)
    ]
    return sorted(groups, key=lambda group: group_names.group_sort_key(group.display_name))


def make_results_frame(runs: list[RunResult]) -> pd.DataFrame:
    """One row per run and cycle.

    Columns: group (its position in the report), dataset, training, method (with distinguishing
    options), budget (-1 if there is none), split, seed, run (a number), labeled, and the measures.

    Raises UserError if two runs have the same identity."""
    for first, *others in find_duplicates(runs):
        raise UserError(
            f"{others[0].folder} is not the only run of its split: {first.folder} has the same "
            "options, split and seed; name a folder that contains only one of them"
        )
    grouped_runs = [
        (number, group, run) for number, group in enumerate(group_runs(runs)) for run in group.runs
    ]
    frames = [
        run.curve.assign(
            group=number,
            dataset=group.display_name.dataset,
            training=group.display_name.training,
            method=group.display_name.method,
            budget=group.identity["options"].get("al_budget", -1),
            split=run.split,
            seed=run.seed,
            run=index,
        )
        for index, (number, group, run) in enumerate(grouped_runs)
    ]
    return pd.concat(frames, ignore_index=True)


def find_duplicates(runs: list[RunResult]) -> list[list[RunResult]]:
    """Runs with equal options, split and seed: one list per set of such runs."""
    by_identity = defaultdict(list)
    for run in runs:
        by_identity[run.group_key, run.split, run.seed].append(run)
    return [members for members in by_identity.values() if len(members) > 1]
