"""The values of options as a sweep is given them: texts with their place, checked one by one."""

import argparse
import difflib
import re
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError
from utils.options.converters import boolean
from utils.options.option import Option
from utils.options.schema import Declared, sections

LARGEST = 10_000  # runs of a sweep, and numbers of a range: more is a slip of the finger
RANGE = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class Given:
    """A value of an option.  text: as main_al.py takes it; place: "study.yaml, line 4", or ""
    where it is of the command line."""

    option: Option
    text: str
    value: Any
    place: str = ""


def names(declared: Declared) -> dict[str, Option]:
    """Name -> option, under its own name and as each of its flags spells it."""
    options = [option for some in sections(declared).values() for option in some]
    found = {
        flag.lstrip("-").replace("-", "_"): option for option in options for flag in option.flags
    }
    return found | {option.name: option for option in options}


def named(known: dict[str, Option], name: str, place: str) -> Option:
    """The option of that name.  Raises UserError where there is none."""
    plain = name.lstrip("-").replace("-", "_")
    if plain in known:
        return known[plain]
    close = difflib.get_close_matches(plain, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "python main_al.py --help has them all"
    raise told(place, f"{name} is not an option: {hint}")


def values(option: Option, text: str, place: str) -> list[Given]:
    """What a text stands for: one value, or with 0-4 five, where the option takes whole numbers.

    Raises UserError where it is not the option's."""
    try:
        return [Given(option, text, _convert(option, text), place)]
    except argparse.ArgumentTypeError as error:
        wrong = error
    try:
        if found := RANGE.fullmatch(text):
            first, last = (_convert(option, end) for end in found.groups())
            if type(first) is int and first <= last < first + LARGEST:
                return [Given(option, str(n), n, place) for n in range(first, last + 1)]
    except argparse.ArgumentTypeError as error:
        wrong = error
    raise told(place, f"{option.flag}: {wrong}")


def told(place: str, words: str) -> UserError:
    """The error, with its place in front where there is one."""
    return UserError(f"{place}: {words}" if place else words)


def _convert(option: Option, text: str) -> Any:
    return boolean(text) if option.kind is bool else option.kind(text)
