"""What one run did: which images it chose in each cycle, of which classes, and what came of it."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.runs import RunResult, read_run_file
from utils.console import to_one_line
from utils.errors import UserError


@dataclass(frozen=True)
class LabeledImage:
    """An image that was labeled: its index in the training set, its class, and what the network
    took it for, in words; "" where that is not known."""

    dataset_index: int
    label: int
    class_name: str
    predicted_class: str = ""


@dataclass(frozen=True)
class RunHistory:
    """picks: after which cycle (-1: at the start) -> images in order of choice; counts: labels of
    each class by name; cycles: a row a cycle, in words."""

    images_by_cycle: dict[int, list[LabeledImage]]
    class_counts: dict[str, int]
    cycle_table: pd.DataFrame
    reason_missing: str  # no picks can be shown; "" where they can


def read_history(
    sample: RunResult, first: np.ndarray | None, labels: np.ndarray | None
) -> RunHistory:
    """first: indices of the split's images, labels: (N,) their classes, where known."""
    names, guesses = _read_class_names(sample), _read_predictions(sample)
    picks, why = {}, ""
    if first is not None:
        picks[-1] = [_make_labeled_image(i, labels[i], names, guesses) for i in map(int, first)]
    try:
        for row in _read_acquired(sample).itertuples():
            picks.setdefault(row.cycle, []).append(
                _make_labeled_image(row.index_, row.label, names, guesses)
            )
    except UserError as error:
        why = str(error)
    chosen = sorted((pick for some in picks.values() for pick in some), key=lambda p: p.label)
    counts = {}
    for pick in chosen:
        counts[pick.name] = counts.get(pick.name, 0) + 1
    return RunHistory(picks, counts, _make_cycle_table(sample, picks), why)


def _make_labeled_image(
    index: int, label: int, names: list[str], guesses: dict[int, str]
) -> LabeledImage:
    name = names[label] if 0 <= label < len(names) else str(int(label))
    return LabeledImage(index, int(label), name, guesses.get(index, ""))


def class_balance(labels: list[int]) -> float:
    """How evenly labels are spread: entropy over the logarithm of the number of classes there are;
    1: as many of each.  NaN for fewer than two classes."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        return float("nan")
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(counts)))


def _make_cycle_table(sample: RunResult, picks: dict[int, list[LabeledImage]]) -> pd.DataFrame:
    """Labels, accuracy, pseudo-labels; classes and balance, where all labels are known."""
    rows, known = [], []
    for cycle, row in enumerate(sample.results.to_dict("records")):
        known += [pick.label for pick in picks.get(cycle - 1, [])]
        whole = len(known) == row["labeled"]
        pseudo = row.get("pseudo_labels", 0)
        right = row.get("pseudo_accuracy", np.nan)
        even = class_balance(known)
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


def _read_acquired(sample: RunResult) -> pd.DataFrame:
    """acquired.csv.  Raises UserError where it is not one."""
    table = _read_table(sample, "acquired.csv")
    columns = ["cycle", "order", "index", "label"]
    if not set(columns) <= set(table):
        raise UserError("acquired.csv is garbled")
    table = table[columns]
    whole = all(pd.api.types.is_integer_dtype(table[name]) for name in columns)
    if len(table) and not whole:
        raise UserError("acquired.csv is garbled: a cell is no whole number")
    return table.rename(columns={"index": "index_"})


def _read_table(sample: RunResult, name: str) -> pd.DataFrame:
    content = read_run_file(sample.folder / name)
    try:
        return pd.read_csv(io.BytesIO(content))
    except ValueError as error:
        raise UserError(f"{name} cannot be read ({error})") from None


def _read_class_names(sample: RunResult) -> list[str]:
    """classes.txt, a class a line, of data that have names; none where there is no such file."""
    try:
        lines = read_run_file(sample.folder / "classes.txt").decode().splitlines()
    except (UserError, ValueError):
        return []
    return [to_one_line(name) for name in lines]


def _read_predictions(sample: RunResult) -> dict[int, str]:
    """What the network took the images for that a person was asked about last: queries.csv."""
    try:
        table = _read_table(sample, "queries.csv")
        rows = zip(table["index"], table["guess"].astype("string").fillna(""), strict=True)
        return {int(index): to_one_line(guess) for index, guess in rows}
    except (UserError, KeyError, ValueError, TypeError):
        return {}
