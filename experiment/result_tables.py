"""Tables that a run writes: CSV files with fixed headers, the log line of a cycle, the summary."""

from collections.abc import Iterable
from typing import Any

import numpy as np

RESULTS_COLUMNS = (
    "cycle",
    "labeled",
    "steps",
    "train_loss",
    "top1",
    "top5",
    "pseudo_labels",
    "pseudo_accuracy",
)
# Of the network's top-1 accuracy on the unlabeled images, in percent (experiment.estimates).
ESTIMATE_COLUMNS = ("estimated_accuracy", "estimated_low", "estimated_high")
TIMING_COLUMNS = ("cycle", "stage", "seconds", "peak_so_far_mib")  # the peak of the whole process
ACQUIRED_COLUMNS = ("cycle", "order", "index", "label")
NETWORK_MODEL, PROPAGATION_MODEL = "network", "propagation"  # in the column model
ESTIMATES_COLUMNS = (
    "cycle",
    "model",
    "accuracy",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "audited",
    "audited_right",
    "left_out",
    "left_out_right",
    "confidence",
    "disagreement",
)
SECOND_LOOK_COLUMNS = ("cycle", "order", "index", "label_before", "label_after")


def results_header(eval_prefixes: Iterable[str] = ("",)) -> tuple[str, ...]:
    """Columns of results.csv.

    eval_prefixes: prefixes of the accuracy columns, one per evaluation set; "": the test set."""
    accuracies = (f"{prefix}top{n}" for prefix in eval_prefixes if prefix for n in (1, 5))
    return (*RESULTS_COLUMNS, *accuracies, *ESTIMATE_COLUMNS)


def accuracy_columns(prefix: str, top1: float, top5: float) -> dict[str, str]:
    """The accuracy columns of results.csv, in percent with two decimals."""
    return {f"{prefix}top1": f"{top1:.2f}", f"{prefix}top5": f"{top5:.2f}"}


def pseudo_label_columns(used: np.ndarray, known: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """The number of pseudo-labels trained on, and the percentage of them that is right.

    For information only; nothing else is computed from true labels of unlabeled images.

    used: (N,) labels trained on, -1 for none.
    known: (N,) revealed labels, -1 for none.
    truth: (N,) true labels, -1 where unknown."""
    is_pseudo = (used >= 0) & (known < 0)
    can_check = is_pseudo & (truth >= 0)
    accuracy = 100 * float((used == truth)[can_check].mean()) if can_check.any() else None
    return {
        "pseudo_labels": int(is_pseudo.sum()),
        "pseudo_accuracy": None if accuracy is None else f"{accuracy:.2f}",
    }


def make_acquired_rows(cycle: int, indices: np.ndarray, labels: np.ndarray) -> list[dict[str, int]]:
    """Rows of acquired.csv: data set indices (n,) and revealed classes (n,), in order of choice."""
    return [
        dict(zip(ACQUIRED_COLUMNS, (cycle, order, int(index), int(label)), strict=True))
        for order, (index, label) in enumerate(zip(indices, labels, strict=True))
    ]


def make_second_look_rows(
    cycle: int, indices: np.ndarray, before: np.ndarray, after: np.ndarray
) -> list[dict[str, int]]:
    """Rows of second_looks.csv: data set indices (k,) and classes (k,) before and after, -1 for
    none."""
    return [
        dict(zip(SECOND_LOOK_COLUMNS, map(int, (cycle, order, *values)), strict=True))
        for order, values in enumerate(zip(indices, before, after, strict=True))
    ]


def format_cycle_line(row: dict[str, Any], cycles: int) -> str:
    """The log line of a cycle, from its row of results.csv."""
    line = f"cycle {row['cycle'] + 1}/{cycles}: {row['labeled']} labels"
    if row["pseudo_labels"]:
        line += f" and {row['pseudo_labels']} pseudo-labels"
        line += f" ({row['pseudo_accuracy']} % correct)" if row["pseudo_accuracy"] else ""
    line += f", {row['steps']} steps, loss {row['train_loss']}, top-1 {row['top1']} %"
    line += f", validation {row['val_top1']} %" if "val_top1" in row else ""
    if row.get("estimated_accuracy") is None:
        return line
    low, high = row["estimated_low"], row["estimated_high"]
    return f"{line}, estimated without test set {row['estimated_accuracy']} % ({low} to {high} %)"


def describe_estimate(row: dict[str, Any]) -> str:
    """The estimate of a row of results.csv in words; "" if it has none."""
    accuracy, low, high = (row.get(name) for name in ESTIMATE_COLUMNS)
    if accuracy is None:
        return ""
    return (
        f"estimated accuracy on the unlabeled images of the run: {accuracy} %, between {low} and "
        f"{high} % with a probability of 95 %"
    )


def format_accuracy_table(rows: list[dict[str, Any]]) -> str:
    """The accuracy of each cycle as a text table.

    rows: of results.csv, at least one; the values may be text."""
    accuracies = [name for name in rows[0] if name.endswith(("top1", "top5"))]
    columns = ["cycle", "labeled", *accuracies]
    if any(int(row["pseudo_labels"]) for row in rows):
        columns += ["pseudo_labels", "pseudo_accuracy"]
    lines = [columns] + [
        ["" if row[name] is None else str(row[name]) for name in columns] for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
