"""What studies share that write one row per measurement into a csv file: their command line, the
data sets of a folder, and the rows that the file has already, so that a stopped study resumes."""

import argparse
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Rows = Iterable[Sequence[Any]]


def study_parser(doc: str | None, seeds: int) -> argparse.ArgumentParser:
    """Options of every such study.

    doc: of its module; seeds: the default of --seeds."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    words = f"seeds per data set (default: {seeds})"
    parser.add_argument("--seeds", type=int, default=seeds, help=words)
    parser.add_argument("--only", default="", help="data sets whose 'data features' match it")
    parser.add_argument("--summary", action="store_true", help="print tables of OUT.csv")
    return parser


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def keys_of_rows(path: Path, names: Sequence[str]) -> set[tuple[str, ...]]:
    """The values of these columns in each row of a csv file."""
    return {tuple(row[name] for name in names) for row in read_rows(path)}


@contextmanager
def open_rows(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    """A function that appends rows to a csv file at once; a new file gets a header first."""
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if not path.stat().st_size:
            table.writerow(columns)

        def append_rows(rows: Rows) -> None:
            table.writerows(rows)
            file.flush()

        yield append_rows


def select_sources(folder: Path, only: str) -> dict[tuple[str, str], list[Path]]:
    """(data, features) -> the files that the seeds take in turn.

    folder: with features, as scripts.studies.choice_rivals describes it; only: a pattern of
    "data features"."""
    sources: dict[tuple[str, str], list[Path]] = {}
    for kind in ("simclr", "tables"):
        for path in sorted(folder.glob(f"{kind}/*-*.npz")):
            name = path.stem.rpartition("-")[0]
            sources.setdefault((name, kind.rstrip("s")), []).append(path)
    for path in sorted(folder.glob("*.features")):
        sources[path.stem, "encoder"] = [path]
    return {names: paths for names, paths in sources.items() if re.search(only, " ".join(names))}
