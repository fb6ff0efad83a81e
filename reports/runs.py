"""The runs below a folder: read, and grouped by what they are beside their split and seed."""

import io
import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiment import identity
from reports import group_names
from utils.errors import UserError
from utils.lease import LEASE_FOLDER

MEASURES = ("top1", "top5", "val_top1", "val_top5", "pseudo_accuracy")  # in percent
COUNT_COLUMNS = (
    "steps",
    "pseudo_labels",
)  # columns that are told beside them, where they are there
UNFINISHED_NOTE_ENDING = "cycles are done"  # how the note on a run that is not over ends
_REQUIRED_COLUMNS = ("cycle", "labeled", "top1")  # columns of results.csv without an empty cell
_IDENTITY_TYPES = {
    "dataset": str,
    "al_method": str,
    "split": int,
    "seed": int,
}  # options of every identity
_OLD_FOLDER_PATTERN = re.compile(r"\.old\d+$")  # folders, by --resume False


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run: its folder, its config.json, and its results, a row a cycle."""

    folder: Path
    config: dict
    results: pd.DataFrame

    @property
    def identity(self) -> dict:
        """Its identity."""
        return self.config["identity"]

    @property
    def split(self) -> int:
        return self.identity["options"]["split"]

    @property
    def seed(self) -> int:
        return self.identity["options"]["seed"]

    @property
    def group_key(self) -> str:
        """The same for all runs that differ in their split and seed alone."""
        return identity.identity_digest(self.identity, without=group_names.REPLICATE_OPTIONS)


@dataclass(frozen=True, eq=False)
class RunGroup:
    """The runs that differ in their split and seed alone, under their common name."""

    display_name: group_names.GroupName
    runs: tuple[RunResult, ...]

    @property
    def full_name(self) -> str:
        """In full, for a line of text."""
        return (
            f"{self.display_name.dataset}, {self.display_name.training}, {self.display_name.method}"
        )

    @property
    def identity(self) -> dict:
        """The identity of the first; the others' differ in what is sampled."""
        return self.runs[0].identity


def read_runs_below_all(folders: list[Path]) -> tuple[list[RunResult], list[str]]:
    """As read_folder; what is below several of the folders counts once."""
    samples, notes = {}, {}
    for folder in folders:
        found, more = read_runs_below(folder)
        for sample in found:
            samples.setdefault(os.path.realpath(sample.folder), sample)
        notes |= dict.fromkeys(more)
    return list(samples.values()), list(notes)


def read_runs_below(folder: Path) -> tuple[list[RunResult], list[str]]:
    """The finished runs below a folder, and in words what is left out of it, and why.

    Raises UserError where there is no such folder."""
    if not os.path.isdir(folder):
        raise UserError(f"no finished run below {folder}: it is not a folder")
    found, notes = _find_run_folders(folder)
    samples = []
    for path in found:
        try:
            config = _read_config(path)
            results = _read_results(path)
            if len(results) < config["al_nb_cycles"]:
                raise UserError(
                    f"{len(results)} of {config['al_nb_cycles']} {UNFINISHED_NOTE_ENDING}"
                )
        except UserError as error:
            notes.append(f"left out: {path}: {error}")
        else:
            samples.append(RunResult(path, config, results))
    return samples, notes


def _find_run_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """Those that hold results.csv, or had it once; and in words the folders that do not open."""
    found, notes = [], []

    def closed(error: OSError) -> None:
        notes.append(f"left out: {error.filename}: it cannot be opened ({error.strerror})")

    for path, folders, files in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if name != LEASE_FOLDER)  # owners come and go
        here = {*folders, *files}
        begun = {"config.json", "log.txt"} <= here  # a run opens its log last
        if ("results.csv" in here or begun) and not _OLD_FOLDER_PATTERN.search(
            os.path.basename(path)
        ):
            found.append(Path(path))
    return found, notes


def read_run_file(path: Path) -> bytes:
    """A run's file.  Raises UserError where there is none to read; a pipe or a device would never
    end."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path.name} is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"it has no {path.name}") from None
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror})") from None


def _read_config(folder: Path) -> dict:
    """A run's config.json.  Raises UserError where it does not say whose it is."""
    try:
        config = json.loads(read_run_file(folder / "config.json").decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"config.json cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise UserError("config.json is not a run's")
    if "identity" not in config:
        raise UserError("config.json has no identity (made by an older version)")
    who = config["identity"]
    options = who.get("options") if isinstance(who, dict) else None
    if not isinstance(options, dict):
        raise UserError("config.json has an identity without options")
    for name, kind in _IDENTITY_TYPES.items():
        if type(options.get(name)) is not kind:
            raise UserError(f"config.json has an identity without {name}")
    if any(map(_is_nested, [*options.values(), *(who[name] for name in who if name != "options")])):
        raise UserError("config.json has an identity that is not made of plain values")
    cycles = config.get("al_nb_cycles")
    if type(cycles) is not int or cycles < 1:
        raise UserError("config.json does not say how many cycles are wanted")
    return config


def _is_nested(value) -> bool:
    """Whether there are lists in lists; written out, they could be too deep for Python's stack."""
    within = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and any(isinstance(v, (dict, list)) for v in within)


def _read_results(folder: Path) -> pd.DataFrame:
    """A run's results.csv.  Raises UserError where it is not one."""
    content = read_run_file(folder / "results.csv")
    if b"\0" in content:  # pandas 2 reads a cell up to it, so that "6\0" would be 6
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
    if results.empty:  # in its first cycle
        return results
    if not isinstance(results.index, pd.RangeIndex):  # rows are longer than the header
        raise UserError("results.csv is garbled: more cells than columns")
    if list(results["cycle"]) != list(range(len(results))):
        raise UserError("results.csv is garbled: cycle does not count from 0")
    counts = results["labeled"]
    growing = counts.is_monotonic_increasing and counts.is_unique
    if not pd.api.types.is_integer_dtype(counts) or not growing:
        raise UserError("results.csv is garbled: labeled is not a growing number")
    measures = [name for name in MEASURES if name in results]
    for name in measures:
        _check_percent(name, results[name])
    counted = [
        name
        for name in COUNT_COLUMNS
        if name in results and pd.api.types.is_numeric_dtype(results[name])
    ]
    return results[["labeled", *measures, *counted]]


def _check_percent(name: str, values: pd.Series) -> None:
    """Raises UserError unless they are percentages; a measure may be missing in a cycle."""
    numeric = pd.api.types.is_numeric_dtype(values)
    missing = values.isna() & (name not in _REQUIRED_COLUMNS)
    if not numeric or not (missing | values.between(0, 100)).all():
        raise UserError(f"results.csv is garbled: {name} is not a percentage")


def group_runs(samples: list[RunResult]) -> list[RunGroup]:
    """The groups in the order of the report, no two of one name."""
    found = defaultdict(list)
    for sample in samples:
        found[sample.group_key].append(sample)
    labels = group_names.make_group_names([some[0].identity for some in found.values()])
    groups = [
        RunGroup(label, tuple(some)) for label, some in zip(labels, found.values(), strict=True)
    ]
    return sorted(groups, key=lambda group: group_names.group_sort_key(group.display_name))


def make_results_frame(samples: list[RunResult]) -> pd.DataFrame:
    """A row a cycle of a run: group (a number, in the order of the report), dataset, training,
    method (with what tells it apart), budget (-1 for none), split, seed, folder, labeled, measures.

    Raises UserError where two runs are the same."""
    for first, *others in find_duplicates(samples):
        raise UserError(
            f"{others[0].folder} is not the only run of its split: {first.folder} has the same "
            "options, split and seed; name a folder with one of them"
        )
    frames = [
        sample.results.assign(
            group=number,
            dataset=group.display_name.dataset,
            training=group.display_name.training,
            method=group.display_name.method,
            budget=group.identity["options"].get("al_budget", -1),
            split=sample.split,
            seed=sample.seed,
            folder=str(sample.folder),
        )
        for number, group in enumerate(group_runs(samples))
        for sample in group.runs
    ]
    return pd.concat(frames, ignore_index=True)


def find_duplicates(samples: list[RunResult]) -> list[list[RunResult]]:
    """The runs that are there more than once, each with all its folders."""
    found = defaultdict(list)
    for sample in samples:
        found[sample.group_key, sample.split, sample.seed].append(sample)
    return [some for some in found.values() if len(some) > 1]
