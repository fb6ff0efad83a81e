"""From axes to the runs of a sweep: their product, each checked as main_al.py checks its own."""

import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from experiment import setup
from experiment.config import SCHEMA
from sweeps.values import MAX_RUNS, options_by_name, parse_values, with_location
from sweeps.yaml_file import Setting, SweepAxis
from utils.errors import UserError
from utils.options.option import OptionValues
from utils.options.schema import identity_options, validate_options

LOG_TAIL_BYTES = 100_000  # bytes of what a failed run said last


@dataclass(frozen=True)
class PlannedRun:
    """A run that is wanted.  words: what main_al.py is given; args: all options, complete."""

    argv: tuple[str, ...]
    options: OptionValues
    location: str  # where it is asked for

    @property
    def log_path(self) -> Path:
        """Where what it said goes, if it fails."""
        options = json.dumps(self.options.as_dict(), sort_keys=True).encode()
        name = hashlib.sha256(options).hexdigest()[:10]
        return Path(self.options.run_dir or self.options.out, "failed", f"{name}.log")

    def is_finished(self) -> bool:
        """Whether it is over, as far as that can be told without reading the data."""
        return setup.find_finished_run(self.options) is not None


@dataclass(frozen=True)
class RunOutcome:
    """A run that is over.  status: of its process, negative for the signal that killed it; said:
    the last of what it said."""

    planned_run: PlannedRun
    exit_status: int
    output_tail: str


def axes_from_command_line(given: dict[str, list[str]]) -> list[SweepAxis]:
    """given: name -> texts.  An axis an option.  Raises UserError where a value is wrong."""
    known = options_by_name(SCHEMA)
    axes = []
    for name, texts in given.items():
        found = [one for text in texts or ["True"] for one in parse_values(known[name], text, "")]
        axes.append([{name: one} for one in found])
    return axes


def expand_grid(common: Setting, axes: list[SweepAxis], over: list[SweepAxis]) -> list[PlannedRun]:
    """All runs, each once, in the order of the axes, the last the fastest.

    common: what an axis may replace; over: axes that replace what is given in others.  Raises
    UserError, with the place, where a run contradicts itself or two want one folder."""
    replaced = {name for axis in over for setting in axis for name in setting}
    common = {name: one for name, one in common.items() if name not in replaced}
    axes = [_drop_options(axis, replaced) for axis in axes] + over
    _check_no_duplicates(axes)
    if (count := math.prod(map(len, axes))) > MAX_RUNS:
        raise UserError(f"{count} runs are more than {MAX_RUNS}: see the lists and ranges")
    found: dict[tuple, PlannedRun] = {}
    for settings in itertools.product(*axes):
        given = dict(common)
        for setting in settings:
            given |= setting
        planned = _plan_run(given)
        where = _folder_key(planned.options)
        other = found.setdefault(where, planned)
        if words := _describe_differences(other.options, planned.options):
            raise with_location(planned.location, f"two runs have one folder and differ in {words}")
    return list(found.values())


def _drop_options(axis: SweepAxis, names: set[str]) -> SweepAxis:
    """The settings without these options, each once."""
    found = {}
    for setting in axis:
        left = {name: one for name, one in setting.items() if name not in names}
        found.setdefault(tuple((name, one.text) for name, one in left.items()), left)
    return list(found.values())


def _check_no_duplicates(axes: list[SweepAxis]) -> None:
    """Raises UserError where an option is in two axes."""
    seen = {}
    for axis in axes:
        here = {name: one for setting in reversed(axis) for name, one in setting.items()}
        for name, one in here.items():
            if name in seen:
                raise with_location(
                    one.location, f"{name} varies in another list already: {seen[name].location}"
                )
        seen |= here


def _plan_run(given: Setting) -> PlannedRun:
    location = next((one.location for one in reversed(given.values()) if one.location), "")
    try:
        options = validate_options(SCHEMA, {name: one.value for name, one in given.items()})
    except UserError as error:
        where = _find_error_location(str(error), given) or location
        raise with_location(where, str(error)) from None
    argv = [word for one in given.values() for word in (one.option.flag, one.text)]
    return PlannedRun(tuple(argv), options, location)


def _find_error_location(words: str, given: Setting) -> str:
    """The place of the option that an error names first; "" where it is of the command line."""
    found = {}
    for one in given.values():
        if at := re.search(rf"{re.escape(one.option.flag)}(?![\w-])", words):
            found[at.start()] = one.location
    return found[min(found)] if found else ""


def _folder_key(options: OptionValues) -> tuple:
    """The same for runs that have one folder."""
    if options.run_dir:
        return (options.run_dir,)
    identity = json.dumps(identity_options(SCHEMA, options), sort_keys=True)
    return setup.run_folder_path(options, "*"), options.exp_name, identity


def _describe_differences(before: OptionValues, now: OptionValues) -> str:
    """The options in which they differ; "" for none."""
    earlier = before.as_dict()
    return ", ".join(name for name, value in now.as_dict().items() if earlier[name] != value)
