"""The summary of a report: mean and standard deviation per group and number of labels."""

from typing import Any

import numpy as np
import pandas as pd

from reports.file_names import CSV_HEADERS
from reports.runs import ESTIMATES
from utils.console import pluralize
from utils.errors import UserError


def summarize_runs(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One row per group and number of labels, over the runs that have this number of labels.

    Columns: those of CSV_HEADERS["curves"]; group; budget; of, the number of runs of the group;
    over, the same in words.  Estimates are means over the runs that have them.
    runs: from runs.make_results_frame.  Raises UserError if no run has the measure."""
    if measure not in runs or runs[measure].isna().all():
        raise UserError(f"these runs have no {measure}")
    runs = runs.dropna(subset=[measure])
    if measure != "top1":
        runs = runs.drop(columns=list(ESTIMATES), errors="ignore")
    runs = runs.assign(**{name: np.nan for name in ESTIMATES if name not in runs})
    rows = runs.groupby(["group", "dataset", "budget", "training", "method", "labeled"], sort=True)
    summary = rows.agg(
        mean=(measure, "mean"),
        std=(measure, "std"),
        runs=(measure, "count"),
        splits=("split", "nunique"),
        seeds=("seed", "nunique"),
        **{name: (name, "mean") for name in ESTIMATES},
    ).reset_index()
    sizes = runs.groupby("group")[["run", "split", "seed"]].nunique()
    over = {group: _describe_runs(*map(int, row)) for group, *row in sizes.itertuples()}
    return summary.assign(of=summary.group.map(sizes.run), over=summary.group.map(over))


def group_by_dataset_and_budget(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The parts that share axes in a figure: one per data set and budget, with its title."""
    num_budgets = summary.groupby("dataset").budget.nunique()
    return [
        (f"{dataset}, budget {budget}" if num_budgets[dataset] > 1 else dataset, part)
        for (dataset, budget), part in summary.groupby(["dataset", "budget"])
    ]


def _describe_runs(runs: int, splits: int, seeds: int) -> str:
    words = pluralize(splits, "split")
    if seeds == 1:
        return words
    return f"{words}, {pluralize(seeds, 'seed')} ({pluralize(runs, 'run')})"


def make_caption(summary: pd.DataFrame) -> str:
    """The quantity that tables and figures show."""
    words = summary.over.iloc[0]
    if summary.over.nunique() > 1:
        words = " to ".join(map(str, sorted({summary.of.min(), summary.of.max()}))) + " runs"
    return f"mean ± standard deviation over {words}"


def summary_markdown(summary: pd.DataFrame) -> str:
    """One table per data set: one row per group, one column per number of labels."""
    columns = ["dataset", "training", "method"]
    if summary.over.nunique() > 1:
        columns.append("over")
    tables = [_dataset_markdown(part, columns) for _, part in summary.groupby("dataset")]
    caption = make_caption(summary)
    caption = caption[0].upper() + caption[1:]
    if (summary.runs < summary.of).any():
        caption += "; n: number of runs with this number of labels, if not all"
    return "\n".join([*tables, f"{caption}.\n"])


def _dataset_markdown(summary: pd.DataFrame, columns: list[str]) -> str:
    """columns: the columns of the summary that come before the numbers."""
    counts = sorted(summary.labeled.unique())
    header = [name.replace("dataset", "data set") for name in columns]
    header += [f"{n} labels" for n in counts]
    lines = [markdown_row(header), markdown_row(["---"] * len(header))]
    for _, part in summary.groupby("group"):
        cells = {row.labeled: format_accuracy(row) for row in part.itertuples()}
        lines.append(markdown_row([*part[columns].iloc[0], *(cells.get(n, "") for n in counts)]))
    return "\n".join(lines) + "\n"


def format_accuracy(row: Any) -> str:
    """Mean and standard deviation, and the number of runs if some of the group lack the value.

    row: of the summary."""
    words = f"{row.mean:.1f}"
    if row.runs > 1:
        words += f" ± {row.std:.1f}"
    return words if row.runs == row.of else f"{words} (n = {row.runs})"


def markdown_row(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"


def render_csv(key: str, frame: pd.DataFrame) -> str:
    """The CSV file of this key in CSV_HEADERS; a penalty matrix becomes one row per cell."""
    if key == "penalties":
        frame = frame.rename_axis("beats").rename_axis("beaten", axis="columns").stack()
        frame = frame.rename("penalty").reset_index().dropna()
    return frame.to_csv(columns=list(CSV_HEADERS[key]), index=False, lineterminator="\n")
