"""Where a report may write: what is there already is its own, or it is left alone."""

import argparse
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reports.file_names import CSV_HEADERS, HTML_MARK, LATEX_MARK, MARKDOWN_MARK
from utils.errors import UserError
from utils.files import make_folder, os_errors_refused, remove_empty_folders, temporary_beside

_RUN_FILE_NAMES = ("results.csv", "acquired.csv", "timing.csv")
_MATPLOTLIB_MARK = b"atplotlib"  # the program, as it names itself in a figure's file
_REPORT_FILE_MARKS = {  # what a file of ours begins with, one of these, and what else is in it
    ".md": ((b"| data set | training | method |", MARKDOWN_MARK.encode()), b""),
    ".tex": ((LATEX_MARK.encode(),), b""),
    ".csv": (tuple(f"{','.join(header)}\n".encode() for header in CSV_HEADERS.values()), b""),
    ".png": ((b"\x89PNG",), _MATPLOTLIB_MARK),
    ".pdf": ((b"%PDF",), _MATPLOTLIB_MARK),
    ".svg": ((b"<?xml",), _MATPLOTLIB_MARK),
    ".html": ((b"<!DOCTYPE html>",), HTML_MARK.encode()),
}


def path_ending_in(*suffixes: str):
    """A checked type for argparse: a path that ends in one of these."""

    def convert(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        return path

    return convert


def check_writable(paths: list[Path]) -> None:
    """Find what speaks against writing there, and leave everything as it is.

    Raises UserError where something else than a report's file is or belongs, Refused where the
    system does not let us write."""
    for path in paths:
        with os_errors_refused(path):
            wrong = _find_obstacle(path)
        if wrong:
            raise UserError(f"{path} {wrong}")
    with _stage_files({path: b"" for path in paths}):
        pass


def write_all_or_none(contents: dict[Path, bytes]) -> None:
    """Write all the files, or none of them.  Raises Refused where the system does not let us."""
    with _stage_files(contents) as files:
        for path, temporary in files.items():
            with os_errors_refused(path):
                os.replace(temporary, path)


@contextmanager
def _stage_files(contents: dict[Path, bytes]):
    """Whole files beside the targets, path -> name, and the folders that are missing.  Those that
    are not renamed go away again, and so do the folders that stay empty."""
    with ExitStack() as undo:
        files = {}
        for path, content in contents.items():
            with os_errors_refused(path):
                undo.callback(remove_empty_folders, make_folder(path.parent))
                files[path] = undo.enter_context(temporary_beside(path, content))
        yield files


def _find_obstacle(path: Path) -> str | None:
    """What speaks against a file of ours there; None for nothing."""
    if path.name.lower() in _RUN_FILE_NAMES:
        return "is the name of a run's own file: give another"
    for folder in Path(os.path.realpath(path.parent), path.name).parents:
        if all((folder / name).exists() for name in ("config.json", "results.csv")):
            return f"is in a run's folder, {folder}: give another"
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        return "is there and is not a regular file"
    begin, within = _REPORT_FILE_MARKS[path.suffix.lower()]
    with open(path, "r+b") as file:  # one that is write-protected is not replaced
        content = file.read()
    if content and not (content.startswith(begin) and within in content):
        return "is there and is not of a report: give another, or delete it"
    return None
