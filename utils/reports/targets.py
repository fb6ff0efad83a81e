"""Where a report may write: what is there already is its own, or it is left alone."""

import argparse
from pathlib import Path

_OF_A_RUN = ("results.csv", "acquired.csv", "timing.csv")
_BEGINS = {
    ".md": b"| data set | training | method |",
    ".csv": b"dataset,training,method,",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".svg": b"<?xml",
}


def target(*suffixes: str):
    """A checked type for argparse: the path of a file that may be written."""

    def convert(text: str) -> Path:
        path = Path(text)
        try:
            wrong = _wrong(path, suffixes)
        except OSError as error:
            wrong = f"cannot be written ({error.strerror})"
        if wrong:
            raise argparse.ArgumentTypeError(f"{text!r} {wrong}")
        return path

    return convert


def _wrong(path: Path, suffixes: tuple[str, ...]) -> str | None:
    """What speaks against writing there; None for nothing."""
    kind = path.suffix.lower()
    if kind not in suffixes:
        return f"must end in {' or '.join(suffixes)}"
    if path.name.lower() in _OF_A_RUN:
        return "is the name of a run's own file: give another"
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        return "is there and is not a regular file"
    with open(path, "rb") as file:
        begin = file.read(len(_BEGINS[kind]))
    if begin not in (b"", _BEGINS[kind]):
        return "is there and is not of a report: give another, or delete it"
    return None
