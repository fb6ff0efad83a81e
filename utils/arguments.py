"""What the project's commands share: one-line errors and checked types for argparse."""

import argparse
import difflib
import os
import sys


class OneLineParser(argparse.ArgumentParser):
    """argparse, with errors of one line: the option and what would be right."""

    def error(self, message: str):
        sys.exit(complain(message.removeprefix("argument "), program=self.prog))

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for action in self._actions for name in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see --help"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return parsed


def complain(error, program: str | None = None, status: int = 2) -> int:
    """One line on standard error; returns the exit status."""
    program = program or os.path.basename(sys.argv[0])
    print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def number(kind: type, at_least=None, below=None, above=None, at_most=None):
    """A checked type for argparse; the bounds say themselves what would be right."""

    def convert(text: str):
        try:
            value = kind(text)
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
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun} {wanted}".rstrip())
        return value

    return convert


def one_of(names):
    """A checked type for argparse: its own choices are worded differently from Python to Python."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown: one of {', '.join(names)}")
        return text

    return convert


positive = number(int, at_least=1)
natural = number(int, at_least=0)
above_zero = number(float, above=0, below=float("inf"))
not_negative = number(float, at_least=0, below=float("inf"))
fraction = number(float, at_least=0, below=1)
portion = number(float, above=0, at_most=1)
