"""What all commands share: parsing with errors of one line."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from utils.console import print_line, to_one_line
from utils.errors import UserError

# What starts with a minus and is a value, not an option: also -1000,60 and -1e-3.
NEGATIVE_NUMBERS = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(,.*)?$", re.IGNORECASE)


class OneLineErrorParser(argparse.ArgumentParser):
    """argparse with errors of one line, which name the option and a way to correct it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = NEGATIVE_NUMBERS

    def error(self, message: str) -> NoReturn:
        sys.exit(print_error(message.removeprefix("argument "), program=self.prog))

    def parse_args(  # type: ignore[override]  # argparse overloads it by the type of namespace
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=1)
            hint = f"did you mean {close[0]}?" if close else "see --help"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return parsed


def print_error(error: Exception | str, program: str | None = None) -> int:
    """Print one line per argument of a UserError, else one line, on standard error.

    program: the name in front of it (default: the command that runs).
    Returns the exit status: the error's own, else 2."""
    program = program or os.path.basename(sys.argv[0])
    messages = error.args if isinstance(error, UserError) else [error]
    for message in messages:
        print_line(f"{program}: error: {to_one_line(str(message))}", "stderr")
    return getattr(error, "exit_code", 2)
