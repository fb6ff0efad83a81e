"""What one run did: which images it chose in each cycle, of which classes, and what came of it."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.runs import Sample, read_file
from utils.console import one_line
from utils.errors import UserError


@dataclass(frozen=True)
class Pick:
    """An image that was labeled: its index in the training set, its class, and what the network
    took it for, in words; "" where that is not known."""

    index: int
    label: int
    name: str
    guess: str = ""


@dataclass(frozen=True)
class Story:
    """picks: after which cycle (-1: at the start) -> images in order of choice; counts: labels of
    each class by name; cycles: a row a cycle, in words."""

    picks: dict[int, list[Pick]]
    counts: dict[str, int]
    cycles: pd.DataFrame
    why: str  # no picks can be shown; "" where they can


def story(sample: Sample, first: np.ndarray | None, labels: np.ndarray | None) -> Story:
    """first: indices of the split's images, labels: (N,) their classes, where known."""
    names, guesses = _class_names(sample), _guesses(sample)
    picks, why = {}, ""
    if first is not None:
        picks[-1] = [_pick(i, labels[i], names, guesses) for i in map(int, first)]
    try:
        for row in _acquired(sample).itertuples():
            picks.setdefault(row.cycle, []).append(_pick(row.index_, row.label, names, guesses))
    except UserError as error:
        why = str(error)
    chosen = sorted((pick for some in picks.values() for pick in some), key=lambda p: p.label)
    counts = {}
    for pick in chosen:
        counts[pick.name] = counts.get(pick.name, 0) + 1
    return Story(picks, counts, _cycles(sample, picks), why)


def _pick(index: int, label: int, names: list[str], guesses: dict[int, str]) -> Pick:
    name = names[label] if 0 <= label < len(names) else str(int(label))
    return Pick(index, int(label), name, guesses.get(index, ""))


def balance(labels: list[int]) -> float:
    """How evenly labels are spread: entropy over the logarithm of the number of classes there are;
    1: as many of each.  NaN for fewer than two classes."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        return float("nan")
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(counts)))


def _cycles(sample: Sample, picks: dict[int, list[Pick]]) -> pd.DataFrame:
    """Labels, accuracy, pseudo-labels; classes and balance, where all labels are known."""
    rows, known = [], []
    for cycle, row in enumerate(sample.results.to_dict("records")):
        known += [pick.label for pick in picks.get(cycle - 1, [])]
        whole = len(known) == row["labeled"]
        pseudo = row.get("pseudo_labels", 0)
        right = row.get("pseudo_accuracy", np.nan)
        even = balance(known)
        rows.append(
            {
                "cycle": str(cycle + 1),
                "labels": str(row["labeled"]),
                "top-1, %": f"{row['top1']:.2f}",
                "pseudo-labels": f"{pseudo:,.0f}" if pseudo else "",
                "of them right, %": "" if np.isnan(right) else f"{right:.2f}",
                "classes": str(len(set(known))) if whole else "",
                "balance": "" if np.isnan(even) or not whole else f"{even:.3f}",
            }
        )
    frame = pd.DataFrame(rows)
    return frame.loc[:, (frame != "").any()]


def _acquired(sample: Sample) -> pd.DataFrame:
    """acquired.csv.  Raises UserError where it is not one."""
    table = _table(sample, "acquired.csv")
    columns = ["cycle", "order", "index", "label"]
    if not set(columns) <= set(table):
        raise UserError("acquired.csv is garbled")
    table = table[columns]
    whole = all(pd.api.types.is_integer_dtype(table[name]) for name in columns)
    if len(table) and not whole:
        raise UserError("acquired.csv is garbled: a cell is no whole number")
    return table.rename(columns={"index": "index_"})


def _table(sample: Sample, name: str) -> pd.DataFrame:
    content = read_file(sample.folder / name)
    try:
        return pd.read_csv(io.BytesIO(content))
    except ValueError as error:
        raise UserError(f"{name} cannot be read ({error})") from None


def _class_names(sample: Sample) -> list[str]:
    """classes.txt, a class a line, of data that have names; none where there is no such file."""
    try:
        lines = read_file(sample.folder / "classes.txt").decode().splitlines()
    except (UserError, ValueError):
        return []
    return [one_line(name) for name in lines]


def _guesses(sample: Sample) -> dict[int, str]:
    """What the network took the images for that a person was asked about last: queries.csv."""
    try:
        table = _table(sample, "queries.csv")
        rows = zip(table["index"], table["guess"].astype("string").fillna(""), strict=True)
        return {int(index): one_line(guess) for index, guess in rows}
    except (UserError, KeyError, ValueError, TypeError):
        return {}
