"""Types of options: functions from the text of the command line to a checked value.

All raise argparse.ArgumentTypeError, whose message argparse puts behind the option's flag.
"""

import argparse
import math
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

MAX_VALUE_BY_TYPE = {int: 2**63 - 1, float: 3.4e38}  # torch and numpy overflow beyond these
MAX_COUNT = 2**31 - 1  # of epochs, images, neighbours: libraries count in 32 bits


@dataclass(frozen=True, eq=False)  # hashable, as argparse needs it
class ChoiceConverter:
    """A converter whose values are chosen from a list.

    convert: text -> value.
    names: the words of the list, for --help and docs/options.md; a registry is read only when a
    text is converted, so that entries may be added to it later."""

    convert: Callable[[str], Any]
    names: Collection[str]

    def __call__(self, text: str) -> Any:
        return self.convert(text)


def parse_boolean(text: str) -> bool:
    """True or False, in the usual spellings."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def make_number_type(
    base_type: type[int] | type[float],
    at_least: float | None = None,
    below: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    sanity_limit: float | None = None,
) -> Callable[[str], Any]:
    """A converter to int or float within bounds, which its error messages state.

    sanity_limit: a bound that no reasonable value comes near; messages mention it only beyond it
    (default: MAX_VALUE_BY_TYPE)."""
    limit = MAX_VALUE_BY_TYPE[base_type] if sanity_limit is None else sanity_limit
    noun = "a whole number" if base_type is int else "a number"
    all_bounds: tuple[tuple[str, float | None, Callable[[Any, Any], bool]], ...] = (
        ("at least", at_least, operator.ge),
        ("above", above, operator.gt),
        ("below", below, operator.lt),
        ("at most", at_most, operator.le),
    )
    bounds = [(words, bound, holds) for words, bound, holds in all_bounds if bound is not None]
    condition = " and ".join(f"{words} {bound}" for words, bound, _ in bounds)

    def convert(text: str) -> int | float:
        quoted = repr(text if len(text) <= 40 else text[:37] + "...")
        try:
            value = base_type(text)
        except ValueError:
            value = None
        if value is None or not all(holds(value, bound) for _, bound, holds in bounds):
            raise argparse.ArgumentTypeError(f"{quoted} is not {noun} {condition}".rstrip())
        if value > limit:
            raise argparse.ArgumentTypeError(f"{quoted} is too large: at most {limit}")
        return value

    return convert


def one_of(names: Collection[str]) -> ChoiceConverter:
    """A converter that accepts these names.  (argparse's own `choices` is worded differently in
    each version of Python.)"""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown: choose from {', '.join(names)}")
        return text

    return ChoiceConverter(convert, names)


def comma_separated(names: Collection[str]) -> ChoiceConverter:
    """A converter that accepts several of these names, separated by commas.  The value has each
    once, in the order of `names`."""
    convert_name = one_of(names)

    def convert(text: str) -> str:
        chosen = [convert_name(word.strip()) for word in text.split(",")]
        return ",".join(name for name in names if name in chosen)

    return ChoiceConverter(convert, names)


def type_or_word(base_type: Callable[[str], Any], **words: Any) -> ChoiceConverter:
    """A converter that accepts what `base_type` accepts, and these words for these values."""

    def convert(text: str) -> Any:
        return words[text.lower()] if text.lower() in words else base_type(text)

    names = base_type.names if isinstance(base_type, ChoiceConverter) else ()
    return ChoiceConverter(convert, names)


def parse_range(text: str) -> str:
    """Two finite numbers, the lower one first, separated by a comma.  The value is text, too."""
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not LOW,HIGH: two numbers, the lower one first, such as 0,4095"
        )
    return f"{low:.17g},{high:.17g}"


def parse_channel_values(text: str) -> str:
    """Three numbers above or equal to 0, for red, green and blue, or one for all of them,
    separated by commas.  The value is text, too."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or not all(0 <= value < math.inf for value in values):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not R,G,B: three numbers from 0 on, such as 0.5,0.5,0.5"
        )
    return ",".join(f"{value:.17g}" for value in values * (3 // len(values)))


def non_empty_text(text: str) -> str:
    """A path or a name.  An empty one is usually an unset variable of a shell script."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is empty: give a name, or leave the option out")
    return text


positive_integer = make_number_type(int, at_least=1, sanity_limit=MAX_COUNT)
non_negative_integer = make_number_type(int, at_least=0)
positive_float = make_number_type(float, above=0, below=float("inf"))
non_negative_float = make_number_type(float, at_least=0, below=float("inf"))
fraction_below_one = make_number_type(float, at_least=0, below=1)
positive_fraction = make_number_type(float, above=0, at_most=1)
