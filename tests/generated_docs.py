"""What follows from the code, written by python -m tests.generated_docs: docs/options.md and
tests/messages.txt."""

import sys

from experiment.config import SCHEMA
from tests import messages
from tests.conftest import ROOT
from utils.options.options_table import markdown_tables

OPTIONS = ROOT / "docs" / "options.md"
INTRODUCTION = """# Options

This page lists every option of `main_al.py`, with its default and what it does: the same as
`python main_al.py --help`.  It is written by `make docs` from the declarations in the code.  A data
set may have better defaults of its own; `config.json` in the run folder shows what a run used.

"""


def render_options() -> str:
    """docs/options.md as the declarations have it."""
    return INTRODUCTION + markdown_tables(SCHEMA)


if __name__ == "__main__":
    OPTIONS.write_text(render_options())
    messages.FILE.write_text(messages.render_messages())
    sys.exit(0)
