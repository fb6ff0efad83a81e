"""From axes to the runs of a sweep: their product, each checked as main_al.py checks its own."""

import hashlib
import itertools
import json
import math
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from experiment import experiment
from experiment.config import declared
from sweeps.values import LARGEST, names, told, values
from sweeps.yaml_file import Axis, Setting
from utils.errors import UserError
from utils.options.schema import checked, identity_options

KEPT = 100_000  # bytes of what a failed run said last


@dataclass(frozen=True)
class Planned:
    """A run that is wanted.  words: what main_al.py is given; args: all options, complete."""

    words: tuple[str, ...]
    args: Namespace
    place: str  # where it is asked for

    @property
    def log(self) -> Path:
        """Where what it said goes, if it fails."""
        options = json.dumps(vars(self.args), sort_keys=True).encode()
        name = hashlib.sha256(options).hexdigest()[:10]
        return Path(self.args.run_dir or self.args.out, "failed", f"{name}.log")

    def finished(self) -> bool:
        """Whether it is over, as far as that can be told without reading the data."""
        return experiment.finished_before(self.args) is not None


@dataclass(frozen=True)
class Ended:
    """A run that is over.  status: of its process, negative for the signal that killed it; said:
    the last of what it said."""

    planned: Planned
    status: int
    said: str


def from_command_line(given: dict[str, list[str]]) -> list[Axis]:
    """given: name -> texts.  An axis an option.  Raises UserError where a value is wrong."""
    known = names(declared())
    axes = []
    for name, texts in given.items():
        found = [one for text in texts or ["True"] for one in values(known[name], text, "")]
        axes.append([{name: one} for one in found])
    return axes


def product(common: Setting, axes: list[Axis], over: list[Axis]) -> list[Planned]:
    """All runs, each once, in the order of the axes, the last the fastest.

    common: what an axis may replace; over: axes that replace what is given in others.  Raises
    UserError, with the place, where a run contradicts itself or two want one folder."""
    replaced = {name for axis in over for setting in axis for name in setting}
    common = {name: one for name, one in common.items() if name not in replaced}
    axes = [_without(axis, replaced) for axis in axes] + over
    _refuse_twice(axes)
    if (count := math.prod(map(len, axes))) > LARGEST:
        raise UserError(f"{count} runs are more than {LARGEST}: see the lists and ranges")
    options, found = declared(), {}
    for settings in itertools.product(*axes):
        given = dict(common)
        for setting in settings:
            given |= setting
        planned = _planned(options, given)
        where = _where(options, planned.args)
        other = found.setdefault(where, planned)
        if words := _difference(other.args, planned.args):
            raise told(planned.place, f"two runs have one folder and differ in {words}")
    return list(found.values())


def _without(axis: Axis, names: set[str]) -> Axis:
    """The settings without these options, each once."""
    found = {}
    for setting in axis:
        left = {name: one for name, one in setting.items() if name not in names}
        found.setdefault(tuple((name, one.text) for name, one in left.items()), left)
    return list(found.values())


def _refuse_twice(axes: list[Axis]) -> None:
    """Raises UserError where an option is in two axes."""
    seen = {}
    for axis in axes:
        here = {name: one for setting in reversed(axis) for name, one in setting.items()}
        for name, one in here.items():
            if name in seen:
                raise told(one.place, f"{name} varies in another list already: {seen[name].place}")
        seen |= here


def _planned(options, given: Setting) -> Planned:
    place = next((one.place for one in reversed(given.values()) if one.place), "")
    try:
        args = checked(options, {name: one.value for name, one in given.items()})
    except UserError as error:
        raise told(_meant(str(error), given) or place, str(error)) from None
    words = [word for one in given.values() for word in (one.option.flag, one.text)]
    return Planned(tuple(words), args, place)


def _meant(words: str, given: Setting) -> str:
    """The place of the option that an error names first; "" where it is of the command line."""
    found = {}
    for one in given.values():
        if at := re.search(rf"{re.escape(one.option.flag)}(?![\w-])", words):
            found[at.start()] = one.place
    return found[min(found)] if found else ""


def _where(options, args) -> tuple:
    """The same for runs that have one folder."""
    if args.run_dir:
        return (args.run_dir,)
    who = json.dumps(identity_options(options, args), sort_keys=True)
    return experiment.folder_of(args, "*"), args.exp_name, who


def _difference(before: Namespace, now: Namespace) -> str:
    """The options in which they differ; "" for none."""
    return ", ".join(name for name, value in vars(now).items() if getattr(before, name) != value)
