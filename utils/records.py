"""What a run writes for people: CSV with fixed headers, log lines, the closing table."""

import csv
import io
import logging
import sys

import numpy as np
from tqdm import tqdm

RESULTS = (
    "cycle",
    "labeled",
    "steps",
    "train_loss",
    "top1",
    "top5",
    "pseudo_labels",
    "pseudo_accuracy",
)
VALIDATION = ("val_top1", "val_top5")  # further columns of results.csv with --use-val-set
TIMING = ("cycle", "stage", "seconds", "peak_memory_mib")
ACQUIRED = ("cycle", "order", "index", "label")

log = logging.getLogger("main_al")


def render_csv(header: tuple[str, ...], rows: list[dict]) -> str:
    """CSV text; a row that lacks a column or has another is a ValueError, a None an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        if set(row) != set(header):
            raise ValueError(f"columns {sorted(row)} instead of {sorted(header)}")
        writer.writerow(row)
    return text.getvalue()


def accuracy_columns(prefix: str, top1: float, top5: float) -> dict:
    """Columns of results.csv; percentages have two decimals everywhere."""
    return {f"{prefix}top1": f"{top1:.2f}", f"{prefix}top5": f"{top5:.2f}"}


def pseudo_columns(used: np.ndarray, known: np.ndarray, truth: np.ndarray) -> dict:
    """How many pseudo-labels are trained on and how many percent of them are right: for the log
    alone, and computed nowhere else.

    used, known: (N,) labels, -1 for none, trained on and revealed; truth: (N,)."""
    pseudo = (used >= 0) & (known < 0)
    right = 100 * float((used == truth)[pseudo].mean()) if pseudo.any() else None
    return {
        "pseudo_labels": int(pseudo.sum()),
        "pseudo_accuracy": None if right is None else f"{right:.2f}",
    }


class _BarSafeHandler(logging.Handler):
    """Log lines on standard output that do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def open_log(path) -> None:
    """Log to the terminal and append to `path`."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    console, file = _BarSafeHandler(), logging.FileHandler(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for handler in (console, file):
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def bar(iterable, stage: str, **more) -> tqdm:
    """A progress bar that goes away when done and stays away where there is no terminal."""
    return tqdm(iterable, desc=stage, leave=False, disable=None, **more)


def acquired_rows(cycle: int, indices, labels) -> list[dict]:
    """Rows of acquired.csv: data set indices and revealed classes, in order of choice."""
    return [
        dict(zip(ACQUIRED, (cycle, order, int(index), int(label)), strict=True))
        for order, (index, label) in enumerate(zip(indices, labels, strict=True))
    ]


def cycle_line(row: dict, cycles: int) -> str:
    """One cycle in one line of the log."""
    line = f"cycle {row['cycle'] + 1}/{cycles}: {row['labeled']} labels"
    if row["pseudo_labels"]:
        line += f" and {row['pseudo_labels']} pseudo-labels ({row['pseudo_accuracy']} % right)"
    line += f", {row['steps']} steps, loss {row['train_loss']}, top-1 {row['top1']} %"
    return line + (f", validation {row['val_top1']} %" if "val_top1" in row else "")


def closing_table(rows: list[dict]) -> str:
    """Accuracy per cycle, as text."""
    columns = [
        name for name in ("cycle", "labeled", "top1", "top5", *VALIDATION) if name in rows[0]
    ]
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
