"""The parts of README.md that follow from the code: python -m tests.generated_docs writes them anew."""

import sys

from experiment import experiment
from tests.conftest import ROOT
from utils.options.options_table import markdown_table

README = ROOT / "README.md"
BEGIN, END = "<!-- options: written by `make readme` -->\n", "<!-- end of options -->\n"


def current() -> str:
    """README.md with its table of options as the declarations have it."""
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + markdown_table(experiment.option_schema()) + END + after


if __name__ == "__main__":
    README.write_text(current())
    sys.exit(0)
