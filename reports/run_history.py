"""The history of one run: which images of which classes it chose in each cycle, and the results."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.runs import ESTIMATES, RunResult, read_run_file
from utils.console import to_one_line
from utils.errors import UserError
from utils.spreadsheets import unescape_cell


@dataclass(frozen=True)
class LabeledImage:
    """A labeled image.

    dataset_index: its index in the training set; predicted_class: the network's prediction before
    it was labeled, "" if unknown."""

    dataset_index: int
    label: int
    class_name: str
    predicted_class: str = ""


@dataclass(frozen=True)
class RunHistory:
    """images_by_cycle: cycle after which images were labeled (-1: at the start) -> these images in
    order of choice.
    class_counts: class name -> number of labels.
    cycle_table: one row per cycle, with formatted cells.
    reason_missing: why the chosen images are unknown; "" if they are known."""

    images_by_cycle: dict[int, list[LabeledImage]]
    class_counts: dict[str, int]
    cycle_table: pd.DataFrame
    reason_missing: str


def read_history(
    run: RunResult, initial_indices: np.ndarray | None, labels: np.ndarray | None
) -> RunHistory:
    """initial_indices: images of the split, None if unknown; labels: (N,) their classes."""
    names, predictions = _read_class_names(run), _read_predictions(run)
    images: dict[int, list[LabeledImage]] = {}
    reason_missing = ""
    if initial_indices is not None and labels is not None:
        images[-1] = [
            _make_labeled_image(i, labels[i], names, predictions) for i in map(int, initial_indices)
        ]
    try:
        for row in _read_acquired(run).itertuples():
            images.setdefault(row.cycle, []).append(
                _make_labeled_image(row.index_, row.label, names, predictions)
            )
    except UserError as error:
        reason_missing = str(error)
    by_class = sorted(
        (image for members in images.values() for image in members), key=lambda image: image.label
    )
    counts: dict[str, int] = {}
    for image in by_class:
        counts[image.class_name] = counts.get(image.class_name, 0) + 1
    return RunHistory(images, counts, _make_cycle_table(run, images), reason_missing)


def _make_labeled_image(
    index: int, label: int, names: list[str], predictions: dict[int, str]
) -> LabeledImage:
    name = names[label] if 0 <= label < len(names) else str(int(label))
    return LabeledImage(index, int(label), name, predictions.get(index, ""))


def class_balance(labels: Sequence[int]) -> float:
    """Entropy of the class frequencies divided by the logarithm of the number of classes present.

    1: equally many labels per class.  NaN for fewer than two classes."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        return float("nan")
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(counts)))


def _make_cycle_table(run: RunResult, images: dict[int, list[LabeledImage]]) -> pd.DataFrame:
    """Labels, accuracy and pseudo-labels; classes and balance where all labels are known."""
    rows = []
    known_labels: list[int] = []
    for cycle, row in enumerate(run.results.to_dict("records")):
        known_labels += [image.label for image in images.get(cycle - 1, [])]
        all_known = len(known_labels) == row["labeled"]
        pseudo_labels = row.get("pseudo_labels", 0)
        pseudo_accuracy = row.get("pseudo_accuracy", np.nan)
        balance = class_balance(known_labels)
        rows.append(
            {
                "cycle": str(cycle + 1),
                "labels": str(row["labeled"]),
                "top-1, %": f"{row['top1']:.2f}",
                "estimated, %": _format_estimate(row),
                "pseudo-labels": f"{pseudo_labels:,.0f}" if pseudo_labels else "",
                "of them correct, %": (
                    "" if np.isnan(pseudo_accuracy) else f"{pseudo_accuracy:.2f}"
                ),
                "classes": str(len(set(known_labels))) if all_known else "",
                "balance": "" if np.isnan(balance) or not all_known else f"{balance:.3f}",
            }
        )
    frame = pd.DataFrame(rows)
    return frame.loc[:, (frame != "").any()]


def _format_estimate(row: dict[str, Any]) -> str:
    """The estimate without a test set and its interval; empty where there is none."""
    values = [row.get(name, np.nan) for name in ESTIMATES]
    if np.isnan(values).any():
        return ""
    accuracy, low, high = values
    return f"{accuracy:.1f} ({low:.1f} to {high:.1f})"


def _read_acquired(run: RunResult) -> pd.DataFrame:
    """The table acquired.csv.  Raises UserError if it is missing or damaged."""
    table = _read_table(run, "acquired.csv")
    columns = ["cycle", "order", "index", "label"]
    if not set(columns) <= set(table):
        raise UserError(f"acquired.csv is garbled: it lacks one of the columns {columns}")
    table = table[columns]
    all_integers = all(pd.api.types.is_integer_dtype(table[name]) for name in columns)
    if len(table) and not all_integers:
        raise UserError("acquired.csv is garbled: a cell is not a whole number")
    # The rows of itertuples() are tuples, which have a method "index".
    return table.rename(columns={"index": "index_"})


def _read_table(run: RunResult, name: str, **reading: Any) -> pd.DataFrame:
    """reading: arguments of pd.read_csv."""
    content = read_run_file(run.folder / name)
    try:
        return pd.read_csv(io.BytesIO(content), **reading)
    except ValueError as error:
        raise UserError(f"{name} cannot be read ({error})") from None


def _read_class_names(run: RunResult) -> list[str]:
    """The lines of classes.txt, one class per line; empty if the data set has no class names."""
    try:
        lines = read_run_file(run.folder / "classes.txt").decode().splitlines()
    except (UserError, ValueError):
        return []
    return [to_one_line(name) for name in lines]


def _read_predictions(run: RunResult) -> dict[int, str]:
    """Predicted classes of the images queried last, from queries.csv: index -> class name."""
    try:
        table = _read_table(run, "queries.csv", dtype=str, keep_default_na=False)
        rows = zip(table["index"], table["guess"], strict=True)
        return {int(index): to_one_line(unescape_cell(guess)) for index, guess in rows}
    except (UserError, KeyError, ValueError, TypeError):
        return {}
