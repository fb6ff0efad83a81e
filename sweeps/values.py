"""The values of options as a sweep is given them: texts with their place, checked one by one."""

import argparse
import difflib
import re
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError
from utils.options.option import Option
from utils.options.schema import OptionSchema

MAX_RUNS = 10_000  # runs of a sweep, and numbers of a range: more is a slip of the finger
RANGE_PATTERN = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class SweepValue:
    """A value of an option.  text: as main_al.py takes it; place: "study.yaml, line 4", or ""
    where it is of the command line."""

    option: Option
    text: str
    value: Any
    location: str = ""


def options_by_name(schema: OptionSchema) -> dict[str, Option]:
    """Name -> option, under its own name and as each of its flags spells it."""
    options = schema.options()
    found = {
        flag.lstrip("-").replace("-", "_"): option for option in options for flag in option.flags
    }
    return found | {option.name: option for option in options}


def find_option(known: dict[str, Option], name: str, place: str) -> Option:
    """The option of that name.  Raises UserError where there is none."""
    plain = name.lstrip("-").replace("-", "_")
    if plain in known:
        return known[plain]
    close = difflib.get_close_matches(plain, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "python main_al.py --help has them all"
    raise with_location(place, f"{name} is not an option: {hint}")


def parse_values(option: Option, text: str, place: str) -> list[SweepValue]:
    """What a text stands for: one value, or with 0-4 five, where the option takes whole numbers.

    Raises UserError where it is not the option's."""
    try:
        return [SweepValue(option, text, _convert_text(option, text), place)]
    except argparse.ArgumentTypeError as error:
        wrong = error
    try:
        if found := RANGE_PATTERN.fullmatch(text):
            first, last = (_convert_text(option, end) for end in found.groups())
            if type(first) is int and first <= last < first + MAX_RUNS:
                return [SweepValue(option, str(n), n, place) for n in range(first, last + 1)]
    except argparse.ArgumentTypeError as error:
        wrong = error
    raise with_location(place, f"{option.flag}: {wrong}")


def with_location(place: str, words: str) -> UserError:
    """The error, with its place in front where there is one."""
    return UserError(f"{place}: {words}" if place else words)


def _convert_text(option: Option, text: str) -> Any:
    return option.type(text)
