"""Expands axes to the runs of a sweep: their product, each run checked as main_al.py does it."""

import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from experiment import setup
from experiment.config import SCHEMA
from experiment.run_folder_path import run_folder_path
from sweeps.values import (
    SweepValue,
    check_run_count,
    options_by_name,
    parse_values,
    with_location,
)
from sweeps.yaml_file import Setting, SweepAxis
from utils.errors import UserError
from utils.options.option import OptionValues
from utils.options.schema import identity_options, validate_options

LOG_TAIL_BYTES = 100_000  # of the output of a failed run


@dataclass(frozen=True)
class PlannedRun:
    """A run of the sweep.

    argv: arguments of main_al.py; options: all of them, with defaults; location: line of the file
    that requests it, "" for the command line."""

    argv: tuple[str, ...]
    options: OptionValues
    location: str

    @property
    def log_path(self) -> Path:
        """The file for its output if it fails."""
        options = json.dumps(self.options.as_dict(), sort_keys=True).encode()
        name = hashlib.sha256(options).hexdigest()[:10]
        return Path(self.options.run_dir or self.options.out, "failed", f"{name}.log")

    def is_finished(self) -> bool:
        """Whether the run is known to be finished without reading its data."""
        return setup.find_finished_run(self.options) is not None


@dataclass(frozen=True)
class RunOutcome:
    """A run that has ended.

    exit_status: negative for the signal that killed the process; output_tail: end of its output."""

    planned_run: PlannedRun
    exit_status: int
    output_tail: str


def axes_from_command_line(texts_by_name: dict[str, list[str]]) -> list[SweepAxis]:
    """One axis per option; texts_by_name: option -> its values as text, none for a switch alone.

    Raises UserError if a value is invalid."""
    known_options = options_by_name(SCHEMA)
    axes = []
    for name, texts in texts_by_name.items():
        values = [
            value for text in texts or ["True"] for value in parse_values(known_options[name], text)
        ]
        axes.append([{name: value} for value in values])
    return axes


def expand_grid(
    common: Setting, axes: list[SweepAxis], overriding_axes: list[SweepAxis]
) -> list[PlannedRun]:
    """All distinct runs, in the order of the axes; the last axis varies fastest.

    common: values of every run that an axis may replace; overriding_axes: replace the options that
    they contain in `common` and `axes`.  Raises UserError with the location if a run is invalid or
    two different runs would share a folder."""
    overridden = {name for axis in overriding_axes for setting in axis for name in setting}
    common = {name: value for name, value in common.items() if name not in overridden}
    axes = [_drop_options(axis, overridden) for axis in axes] + overriding_axes
    _check_no_duplicates(axes)
    check_run_count(math.prod(map(len, axes)))
    runs: dict[tuple, PlannedRun] = {}
    for settings in itertools.product(*axes):
        values = dict(common)
        for setting in settings:
            values |= setting
        planned = _plan_run(values)
        first = runs.setdefault(_folder_key(planned.options), planned)
        if differences := _describe_differences(first.options, planned.options):
            raise with_location(
                planned.location, f"two runs would share a folder and differ in {differences}"
            )
    return list(runs.values())


def _drop_options(axis: SweepAxis, names: set[str]) -> SweepAxis:
    """The axis without these options and without settings that have become equal."""
    distinct: dict[tuple, Setting] = {}
    for setting in axis:
        remaining = {name: value for name, value in setting.items() if name not in names}
        key = tuple((name, value.text) for name, value in remaining.items())
        distinct.setdefault(key, remaining)
    return list(distinct.values())


def _check_no_duplicates(axes: list[SweepAxis]) -> None:
    """Raises UserError if an option is in two axes."""
    known: dict[str, SweepValue] = {}
    for axis in axes:
        # The first setting that contains an option gives its location.
        in_axis = {name: value for setting in reversed(axis) for name, value in setting.items()}
        for name, value in in_axis.items():
            if name in known:
                raise with_location(
                    value.location,
                    f"{name} already varies in another list: {known[name].location}",
                )
        known |= in_axis


def _plan_run(values: Setting) -> PlannedRun:
    location = next((value.location for value in reversed(values.values()) if value.location), "")
    try:
        options = validate_options(SCHEMA, {name: value.value for name, value in values.items()})
    except UserError as error:
        location = _find_error_location(str(error), values) or location
        raise with_location(location, str(error)) from None
    argv = [word for value in values.values() for word in _as_arguments(value)]
    return PlannedRun(tuple(argv), options, location)


def _as_arguments(value: SweepValue) -> tuple[str, ...]:
    """The value as arguments of main_al.py, which takes a word that begins with a dash for an
    option."""
    flag, text = value.option.flag, value.text
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)


def _find_error_location(message: str, values: Setting) -> str:
    """The location of the option that an error message names first; "" if there is none."""
    locations = {}
    for value in values.values():
        if match := re.search(rf"{re.escape(value.option.flag)}(?![\w-])", message):
            locations[match.start()] = value.location
    return locations[min(locations)] if locations else ""


def _folder_key(options: OptionValues) -> tuple:
    """Equal for runs that would have the same folder."""
    if options.run_dir:
        return (options.run_dir,)
    identity = json.dumps(identity_options(SCHEMA, options), sort_keys=True)
    return run_folder_path(options, "*"), options.exp_name, identity


def _describe_differences(before: OptionValues, now: OptionValues) -> str:
    """The names of the options in which they differ; "" if they are equal."""
    earlier = before.as_dict()
    return ", ".join(name for name, value in now.as_dict().items() if earlier[name] != value)
