"""Kinds of options: from the text of the command line to a checked value."""

import argparse


def parse_boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


MAX_VALUE_BY_TYPE = {int: 2**63 - 1, float: 3.4e38}  # beyond these torch and numpy overflow
MAX_COUNT = 2**31 - 1  # of epochs, images, neighbours: libraries count in 32 bits


def make_number_type(
    base_type: type, at_least=None, below=None, above=None, at_most=None, sanity_limit=None
):
    """A checked type for argparse; the bounds say themselves what would be right.

    largest: a bound that no sane value comes near, told only to who is above it (default:
    LARGEST)."""
    sanity_limit = MAX_VALUE_BY_TYPE[base_type] if sanity_limit is None else sanity_limit

    def convert(text: str):
        shown = repr(text if len(text) <= 40 else text[:37] + "...")
        try:
            value = base_type(text)
        except ValueError:
            value = None
        bounds = (
            (at_least, "at least", lambda bound: value >= bound),
            (above, "above", lambda bound: value > bound),
            (below, "below", lambda bound: value < bound),
            (at_most, "at most", lambda bound: value <= bound),
        )
        stated = [(word, bound, holds) for bound, word, holds in bounds if bound is not None]
        if value is None or not all(holds(bound) for _, bound, holds in stated):
            wanted = " and ".join(f"{word} {bound}" for word, bound, _ in stated)
            noun = "a whole number" if base_type is int else "a number"
            raise argparse.ArgumentTypeError(f"{shown} is not {noun} {wanted}".rstrip())
        if value > sanity_limit:
            raise argparse.ArgumentTypeError(f"{shown} is too large: at most {sanity_limit}")
        return value

    return convert


def one_of(names):
    """A checked type for argparse, whose own choices are worded differently from Python to Python.

    names: a sequence or a registry, read when a text comes."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown: one of {', '.join(names)}")
        return text

    convert.names = names
    return convert


def comma_separated(names):
    """As one_of, for several with commas between them; the value has them in the order of names."""
    each = one_of(names)

    def convert(text: str) -> str:
        found = [each(word.strip()) for word in text.split(",")]
        return ",".join(name for name in names if name in found)

    convert.names = names
    return convert


def type_or_word(base_type, **words):
    """As kind, or one of these words, which stand for these values."""

    def convert(text: str):
        return words[text.lower()] if text.lower() in words else base_type(text)

    convert.names = getattr(base_type, "names", None)
    return convert


def non_empty_text(text: str) -> str:
    """A path or a name; an empty one is a mistake in a script."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is empty: give a name, or leave the option out")
    return text


positive_integer = make_number_type(int, at_least=1, sanity_limit=MAX_COUNT)
non_negative_integer = make_number_type(int, at_least=0)
positive_float = make_number_type(float, above=0, below=float("inf"))
non_negative_float = make_number_type(float, at_least=0, below=float("inf"))
fraction_below_one = make_number_type(float, at_least=0, below=1)
positive_fraction = make_number_type(float, above=0, at_most=1)
