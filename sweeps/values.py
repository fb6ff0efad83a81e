"""The option values of a sweep: texts with their location, each checked on its own."""

import argparse
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError
from utils.options.option import Option
from utils.options.schema import OptionSchema

MAX_RUNS = 10_000  # of a sweep, and of the numbers in a range: more is probably a typing error
RANGE_PATTERN = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class SweepValue:
    """One value of an option.

    text: as main_al.py accepts it; location: for example "study.yaml, line 4", or "" for the
    command line."""

    option: Option
    text: str
    value: Any
    location: str = ""


def options_by_name(schema: OptionSchema) -> dict[str, Option]:
    """Every option under its own name and under each of its flags, with _ for -."""
    options = schema.options()
    by_flag = {
        flag.lstrip("-").replace("-", "_"): option for option in options for flag in option.flags
    }
    return by_flag | {option.name: option for option in options}


def find_option(known_options: Mapping[str, Option], name: str, location: str) -> Option:
    """The option with this name or flag.  Raises UserError if there is none."""
    key = name.lstrip("-").replace("-", "_")
    if key in known_options:
        return known_options[key]
    close = difflib.get_close_matches(key, list(known_options), n=1)
    hint = f"did you mean {close[0]}?" if close else "python main_al.py --help lists all"
    raise with_location(location, f"{name} is not an option: {hint}")


def parse_values(option: Option, text: str, location: str = "") -> list[SweepValue]:
    """The values that a text stands for: one, or for a range such as 0-4 each whole number.

    Raises UserError if the text is not valid for the option."""
    try:
        return [SweepValue(option, text, option.type(text), location)]
    except argparse.ArgumentTypeError as error:
        reason = error
    try:
        if match := RANGE_PATTERN.fullmatch(text):
            first, last = (option.type(end) for end in match.groups())
            if type(first) is int and first <= last < first + MAX_RUNS:
                return [SweepValue(option, str(n), n, location) for n in range(first, last + 1)]
    except argparse.ArgumentTypeError as error:
        reason = error
    raise with_location(location, f"{option.flag}: {reason}")


def check_run_count(count: int, location: str = "") -> None:
    """Call before the runs are listed.  Raises UserError if they are more than MAX_RUNS."""
    if count > MAX_RUNS:
        message = f"{count} runs are more than {MAX_RUNS}: check the lists and ranges"
        raise with_location(location, message)


def with_location(location: str, message: str) -> UserError:
    """An error that begins with its location, if it has one."""
    return UserError(f"{location}: {message}" if location else message)
