"""The runs below a folder: read, and grouped by what they are beside their split and seed."""

import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils.errors import UserError
from utils.reports import names
from utils.run import identity

MEASURES = ("top1", "top5", "val_top1", "val_top5", "pseudo_accuracy")  # in percent
_NEEDED = ("cycle", "labeled", "top1")  # columns of results.csv without an empty cell
_KINDS = {"dataset": str, "al_method": str, "split": int, "seed": int}  # options of every identity
_SET_ASIDE = re.compile(r"\.old\d+$")  # folders, by --resume False


@dataclass(frozen=True)
class Sample:
    """A run: its folder, its identity, and its results, a row a cycle."""

    folder: Path
    who: dict
    results: pd.DataFrame

    @property
    def split(self) -> int:
        return self.who["options"]["split"]

    @property
    def seed(self) -> int:
        return self.who["options"]["seed"]

    @property
    def group(self) -> str:
        """The same for all runs that differ in their split and seed alone."""
        return identity.digest(self.who, without=names.SAMPLED)


def read_folder(folder: Path) -> tuple[list[Sample], list[str]]:
    """The finished runs below a folder, and in words what is left out of it, and why.

    Raises UserError where there is no such folder."""
    if not os.path.isdir(folder):
        raise UserError(f"no finished run below {folder}: it is not a folder")
    found, notes = _run_folders(folder)
    samples = []
    for path in found:
        try:
            config = _read_config(path)
            results = _read_results(path)
            if len(results) < config["al_nb_cycles"]:
                raise UserError(f"{len(results)} of {config['al_nb_cycles']} cycles are done")
        except UserError as error:
            notes.append(f"left out: {path}: {error}")
        else:
            samples.append(Sample(path, config["identity"], results))
    return samples, notes


def _run_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """Those that hold results.csv, or had it once; and in words the folders that do not open."""
    found, notes = [], []

    def closed(error: OSError) -> None:
        notes.append(f"left out: {error.filename}: it cannot be opened ({error.strerror})")

    for path, folders, files in os.walk(folder, onerror=closed):
        folders.sort()
        here = {*folders, *files}
        begun = {"config.json", "log.txt"} <= here  # a run opens its log last
        if ("results.csv" in here or begun) and not _SET_ASIDE.search(os.path.basename(path)):
            found.append(Path(path))
    return found, notes


def _read(path: Path) -> bytes:
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
        config = json.loads(_read(folder / "config.json").decode())
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
    for name, kind in _KINDS.items():
        if type(options.get(name)) is not kind:
            raise UserError(f"config.json has an identity without {name}")
    if any(map(_nested, [*options.values(), *(who[name] for name in who if name != "options")])):
        raise UserError("config.json has an identity that is not made of plain values")
    cycles = config.get("al_nb_cycles")
    if type(cycles) is not int or cycles < 1:
        raise UserError("config.json does not say how many cycles are wanted")
    return config


def _nested(value) -> bool:
    """Whether there are lists in lists; written out, they could be too deep for Python's stack."""
    within = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and any(isinstance(v, (dict, list)) for v in within)


def _read_results(folder: Path) -> pd.DataFrame:
    """A run's results.csv.  Raises UserError where it is not one."""
    content = _read(folder / "results.csv")
    try:
        results = pd.read_csv(io.BytesIO(content), low_memory=False)
    except pd.errors.EmptyDataError:
        raise UserError("results.csv is empty") from None
    except ValueError as error:
        raise UserError(f"results.csv cannot be read ({error})") from None
    missing = [name for name in _NEEDED if name not in results]
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
    return results[["labeled", *measures]]


def _check_percent(name: str, values: pd.Series) -> None:
    """Raises UserError unless they are percentages; a measure may be missing in a cycle."""
    numeric = pd.api.types.is_numeric_dtype(values)
    missing = values.isna() & (name not in _NEEDED)
    if not numeric or not (missing | values.between(0, 100)).all():
        raise UserError(f"results.csv is garbled: {name} is not a percentage")


def grouped(samples: list[Sample]) -> pd.DataFrame:
    """A row a cycle of a run: group (a number, in the order of the report), dataset, training,
    method (with what tells it apart), split, seed, folder, labeled, measures.

    Raises UserError where two runs are the same."""
    _refuse_repeated(samples)
    groups = {sample.group: sample.who for sample in samples}
    found = dict(zip(groups, names.labels(list(groups.values())), strict=True))
    order = sorted(found, key=lambda group: names.order(found[group]))
    frames = []
    for sample in samples:
        label = found[sample.group]
        frame = sample.results.assign(
            group=order.index(sample.group),
            dataset=label.dataset,
            training=label.training,
            method=label.method,
            split=sample.split,
            seed=sample.seed,
            folder=str(sample.folder),
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _refuse_repeated(samples: list[Sample]) -> None:
    seen = {}
    for sample in samples:
        first = seen.setdefault((sample.group, sample.split, sample.seed), sample)
        if first is not sample:
            raise UserError(
                f"{sample.folder} is not the only run of its split: {first.folder} has the same "
                "options, split and seed; name a folder with one of them"
            )
