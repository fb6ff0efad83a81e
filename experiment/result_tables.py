"""What a run writes for people: CSV with fixed headers, the line of a cycle, the closing table."""

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
TIMING_COLUMNS = (
    "cycle",
    "stage",
    "seconds",
    "peak_so_far_mib",
)  # of the process, not of the stage
ACQUIRED_COLUMNS = ("cycle", "order", "index", "label")


def results_header(eval_prefixes=("",)) -> tuple[str, ...]:
    """Columns of results.csv; judges: prefixes of the accuracy columns, "" for the test set's."""
    return RESULTS_COLUMNS + tuple(
        f"{prefix}top{n}" for prefix in eval_prefixes if prefix for n in (1, 5)
    )


def accuracy_columns(prefix: str, top1: float, top5: float) -> dict:
    """Columns of results.csv; percentages have two decimals everywhere."""
    return {f"{prefix}top1": f"{top1:.2f}", f"{prefix}top5": f"{top5:.2f}"}


def pseudo_label_columns(used: np.ndarray, known: np.ndarray, truth: np.ndarray) -> dict:
    """How many pseudo-labels are trained on and how many percent of them are right: for the log
    alone, and computed nowhere else.

    used, known: (N,) labels, -1 for none, trained on and revealed; truth: (N,), -1 where nobody
    knows it."""
    pseudo = (used >= 0) & (known < 0)
    told = pseudo & (truth >= 0)
    right = 100 * float((used == truth)[told].mean()) if told.any() else None
    return {
        "pseudo_labels": int(pseudo.sum()),
        "pseudo_accuracy": None if right is None else f"{right:.2f}",
    }


def make_acquired_rows(cycle: int, indices, labels) -> list[dict]:
    """Rows of acquired.csv: data set indices and revealed classes, in order of choice."""
    return [
        dict(zip(ACQUIRED_COLUMNS, (cycle, order, int(index), int(label)), strict=True))
        for order, (index, label) in enumerate(zip(indices, labels, strict=True))
    ]


def format_cycle_line(row: dict, cycles: int) -> str:
    """One cycle in one line of the log."""
    line = f"cycle {row['cycle'] + 1}/{cycles}: {row['labeled']} labels"
    if row["pseudo_labels"]:
        line += f" and {row['pseudo_labels']} pseudo-labels"
        line += f" ({row['pseudo_accuracy']} % right)" if row["pseudo_accuracy"] else ""
    line += f", {row['steps']} steps, loss {row['train_loss']}, top-1 {row['top1']} %"
    return line + (f", validation {row['val_top1']} %" if "val_top1" in row else "")


def format_accuracy_table(rows: list[dict]) -> str:
    """Accuracy per cycle, as text."""
    accuracies = [name for name in rows[0] if name.endswith(("top1", "top5"))]
    columns = ["cycle", "labeled", *accuracies]
    if any(int(row["pseudo_labels"]) for row in rows):
        columns += ["pseudo_labels", "pseudo_accuracy"]
    cells = [columns] + [
        ["" if row[name] is None else str(row[name]) for name in columns] for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )
