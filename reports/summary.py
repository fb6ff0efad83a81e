"""The table of a report: mean and spread of each group and number of labels."""

import pandas as pd

from reports.file_names import CSV_HEADERS
from reports.group_names import pluralize
from utils.errors import UserError


def summarize_runs(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A row a group and number of labels: HEADERS["curves"]; group; budget; of, the number of the
    group's runs; over, the same in words.  Each is over the runs that have this number of labels.

    runs: of reports.runs.grouped."""
    if measure not in runs or runs[measure].isna().all():
        raise UserError(f"these runs have no {measure}")
    runs = runs.dropna(subset=[measure])
    rows = runs.groupby(["group", "dataset", "budget", "training", "method", "labeled"], sort=True)
    summary = rows.agg(
        mean=(measure, "mean"),
        std=(measure, "std"),
        runs=(measure, "count"),
        splits=("split", "nunique"),
        seeds=("seed", "nunique"),
    ).reset_index()
    whole = runs.groupby("group")[["folder", "split", "seed"]].nunique()
    over = {group: _describe_runs(*map(int, row)) for group, *row in whole.itertuples()}
    return summary.assign(of=summary.group.map(whole.folder), over=summary.group.map(over))


def group_by_dataset_and_budget(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What is drawn to one scale: a data set and budget, with its name."""
    budgets = summary.groupby("dataset").budget.nunique()
    return [
        (f"{dataset}, budget {budget}" if budgets[dataset] > 1 else dataset, part)
        for (dataset, budget), part in summary.groupby(["dataset", "budget"])
    ]


def _describe_runs(runs: int, splits: int, seeds: int) -> str:
    words = pluralize(splits, "split")
    return (
        words if seeds == 1 else f"{words}, {pluralize(seeds, 'seed')} ({pluralize(runs, 'run')})"
    )


def make_caption(summary: pd.DataFrame) -> str:
    """What the numbers are."""
    words = summary.over.iloc[0]
    if summary.over.nunique() > 1:
        words = " to ".join(map(str, sorted({summary.of.min(), summary.of.max()}))) + " runs"
    return f"mean ± standard deviation over {words}"


def summary_markdown(summary: pd.DataFrame) -> str:
    """A table a data set: a row a group, a column a number of labels."""
    names = ["dataset", "training", "method"]
    if summary.over.nunique() > 1:
        names.append("over")
    tables = [_dataset_markdown(part, names) for _, part in summary.groupby("dataset")]
    words = make_caption(summary)
    words = words[0].upper() + words[1:]
    if (summary.runs < summary.of).any():
        words += "; n: over how many runs, where not over all"
    return "\n".join([*tables, f"{words}.\n"])


def _dataset_markdown(summary: pd.DataFrame, names: list[str]) -> str:
    """names: the columns of the summary before those of the numbers."""
    counts = sorted(summary.labeled.unique())
    header = [name.replace("dataset", "data set") for name in names]
    header += [f"{n} labels" for n in counts]
    lines = [markdown_row(header), markdown_row(["---"] * len(header))]
    for _, part in summary.groupby("group"):
        cells = {row.labeled: format_accuracy(row) for row in part.itertuples()}
        lines.append(markdown_row([*part[names].iloc[0], *(cells.get(n, "") for n in counts)]))
    return "\n".join(lines) + "\n"


def format_accuracy(row) -> str:
    """Mean and spread, and over how many runs, where that is not all of the group."""
    words = f"{row.mean:.1f}"
    if row.runs > 1:
        words += f" ± {row.std:.1f}"
    return words if row.runs == row.of else f"{words} (n = {row.runs})"


def markdown_row(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"


def render_csv(key: str, frame: pd.DataFrame) -> str:
    """The table of this key in HEADERS; of the penalties, a row a cell of the matrix."""
    if key == "penalties":
        frame = frame.rename_axis("beats").rename_axis("beaten", axis="columns").stack()
        frame = frame.rename("penalty").reset_index().dropna()
    return frame.to_csv(columns=list(CSV_HEADERS[key]), index=False, lineterminator="\n")
