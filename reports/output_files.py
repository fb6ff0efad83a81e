"""Writes the files of a report, and replaces only files that a report wrote."""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reports.file_names import CSV_HEADERS, HTML_MARK, LATEX_MARK, MARKDOWN_MARK
from utils.errors import UserError
from utils.files import make_folder, os_errors_refused, remove_empty_folders, temporary_beside

_RUN_FILE_NAMES = ("results.csv", "acquired.csv", "timing.csv")
_MATPLOTLIB_MARK = b"atplotlib"  # in every figure, as matplotlib or Matplotlib
_REPORT_FILE_MARKS = {  # suffix -> (possible beginnings, further text) of a report's file
    ".md": ((b"| data set | training | method |", MARKDOWN_MARK.encode()), b""),
    ".tex": ((LATEX_MARK.encode(),), b""),
    ".csv": (tuple(f"{','.join(header)}\n".encode() for header in CSV_HEADERS.values()), b""),
    ".png": ((b"\x89PNG",), _MATPLOTLIB_MARK),
    ".pdf": ((b"%PDF",), _MATPLOTLIB_MARK),
    ".svg": ((b"<?xml",), _MATPLOTLIB_MARK),
    ".html": ((b"<!DOCTYPE html>",), HTML_MARK.encode()),
}


def path_ending_in(*suffixes: str) -> Callable[[str], Path]:
    """A type for argparse: a path with one of these suffixes."""

    def convert(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        return path

    return convert


def check_writable(paths: list[Path]) -> None:
    """Check that the files can be written, and leave everything as it is.

    Raises UserError if a path belongs to something other than a report, SystemRefusal if the
    system does not allow writing."""
    for path in paths:
        with os_errors_refused(path):
            obstacle = _find_obstacle(path)
        if obstacle:
            raise UserError(f"{path} {obstacle}")
    with _stage_files({path: b"" for path in paths}):
        pass


def write_all_or_none(contents: dict[Path, bytes]) -> None:
    """Write all the files, or none of them.

    Raises SystemRefusal if the system does not allow writing."""
    with _stage_files(contents) as temporary_files:
        for path, temporary in temporary_files.items():
            with os_errors_refused(path):
                os.replace(temporary, path)


def remove(paths: Iterable[Path]) -> None:
    """Remove files of an earlier report that this one does not have.

    Raises SystemRefusal if the system does not allow it."""
    for path in paths:
        with os_errors_refused(path, "removed"):
            path.unlink(missing_ok=True)


@contextmanager
def _stage_files(contents: dict[Path, bytes]) -> Iterator[dict[Path, str]]:
    """Write the contents to temporary files beside their paths, and create missing folders.

    Yields path -> temporary file.  On exit, temporary files that were not renamed and folders that
    are still empty are removed."""
    with ExitStack() as undo:
        temporary_files = {}
        for path, content in contents.items():
            with os_errors_refused(path):
                undo.callback(remove_empty_folders, make_folder(path.parent))
                temporary_files[path] = undo.enter_context(temporary_beside(path, content))
        yield temporary_files


def _find_obstacle(path: Path) -> str | None:
    """Why a report must not write this file, as the end of a message; None if it may."""
    if path.name.lower() in _RUN_FILE_NAMES:
        return "is the name of a run's own file; give another"
    for folder in Path(os.path.realpath(path.parent), path.name).parents:
        if all((folder / name).exists() for name in ("config.json", "results.csv")):
            return f"is in a run folder, {folder}; give another"
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        return "exists and is not a regular file"
    beginnings, further_text = _REPORT_FILE_MARKS[path.suffix.lower()]
    with open(path, "r+b") as file:  # for writing too, so that a write-protected file is refused
        content = file.read()
    if content and not (content.startswith(beginnings) and further_text in content):
        return "exists and was not written by a report; give another, or delete it"
    return None
