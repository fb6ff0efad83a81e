"""The notebook in docs/ runs from top to bottom and shows what its text says."""

import re

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT

PATH = ROOT / "docs" / "choose_ten.ipynb"
MAX_BYTES = 300_000  # with the stored pictures


def printed_accuracy(notebook, words: str) -> float:
    """The percentage in the line that begins with these words, of the last execution."""
    streams = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    ]
    found = re.search(rf"{words}: ([\d.]+) %", "".join(streams))
    assert found, f"the notebook prints no line '{words}: ... %'"
    return float(found[1])


def test_it_runs_and_choosing_beats_random():
    notebook = nbformat.read(PATH, as_version=4)
    # Raises CellExecutionError with the cell and its traceback if a cell fails.
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}
    ).execute()
    chosen = printed_accuracy(notebook, "ten labels, chosen")
    assert chosen > printed_accuracy(notebook, "ten labels, random") + 10
    assert chosen > 75


def test_the_stored_file_is_small():
    assert PATH.stat().st_size < MAX_BYTES
    assert not any(
        output.output_type == "error"
        for cell in nbformat.read(PATH, as_version=4).cells
        for output in cell.get("outputs", ())
    )
