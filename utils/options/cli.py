"""What the project's commands share: errors of one line."""

import argparse
import difflib
import os
import sys

from utils.console import print_line, to_one_line
from utils.errors import UserError


class OneLineErrorParser(argparse.ArgumentParser):
    """argparse, with errors of one line: the option and what would be right."""

    def error(self, message: str):
        sys.exit(print_error(message.removeprefix("argument "), program=self.prog))

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for action in self._actions for name in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see --help"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return parsed


def print_error(error, program: str | None = None) -> int:
    """One line on standard error, or one for each argument of a UserError that has several; returns
    the exit status: the error's own, else 2."""
    program = program or os.path.basename(sys.argv[0])
    for words in error.args if isinstance(error, UserError) else [error]:
        print_line(f"{program}: error: {to_one_line(str(words))}", "stderr")
    return getattr(error, "exit_code", 2)
