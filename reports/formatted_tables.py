"""The tables of a report for readers: titles, formatted cells, and notes that explain them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.paired_tests import MIN_PAIRS
from reports.summary import format_accuracy, make_caption

_COLUMN_TITLES = {"dataset": "data set", "training": "training", "method": "method"}
FEW_PAIRS_NOTE = "a test means little"


@dataclass(frozen=True)
class ReportTable:
    """key: its name in files and anchors; rows: formatted cells; note: explains the cells."""

    key: str
    title: str
    rows: pd.DataFrame
    note: str


def accuracy_tables(summary: pd.DataFrame, measure: str) -> list[ReportTable]:
    """One table per data set: one row per group, one column per number of labels."""
    tables: list[ReportTable] = []
    for dataset, part in summary.groupby("dataset"):
        rows = []
        for _, group in part.groupby("group"):
            first = group.iloc[0]
            row = {"training": first.training, "method": first.method, "over": first.over}
            cells = {f"{r.labeled} labels": format_accuracy(r) for r in group.itertuples()}
            rows.append(row | cells)
        columns = ["training", "method", "over"]
        columns += [f"{n} labels" for n in sorted(part.labeled.unique())]
        frame = pd.DataFrame(rows, columns=columns).fillna("")
        note = (
            f"{measure} in percent: {make_caption(part)}; n: number of runs with this number of "
            "labels, if not all."
        )
        tables.append(ReportTable(f"accuracy-{len(tables)}", f"{dataset}: {measure}", frame, note))
    return tables


def budget_table(overview: pd.DataFrame) -> ReportTable:
    """Area under the budget curve, labels saved, and cost."""
    rows = [
        {title: row[name] for name, title in _COLUMN_TITLES.items()}
        | {
            "n": str(row.runs),
            "labels": _format_number(row.labels, 0),
            "accuracy": _format_mean_std(row["mean"], row["std"]),
            "area": _format_mean_std(row.area, row.area_std),
            "area over labels": _format_range(row.area_from, row.area_to),
            "labels saved": _format_labels_saved(row),
            "steps": _format_number(row.steps, 0),
            "images seen": _format_number(row.images, 0),
            "seconds": _format_number(row.seconds, 1),
        }
        for _, row in overview.iterrows()
    ]
    note = (
        "Accuracy: in the last cycle, at the number of labels shown. Area: mean height of the "
        "curve over the numbers of labels that all runs of a data set and budget have. Labels "
        "saved: how many fewer labels than random selection the mean curve needs to reach the "
        "final accuracy of random selection (linear interpolation, over the runs that both have);"
        " \u201cnever\u201d: it does not reach it. Steps, images seen (with repetition) and "
        "seconds: means per run, without pre-training; images are unknown for FixMatch."
    )
    return ReportTable("budget", "Area, labels saved, cost", pd.DataFrame(rows), note)


def _format_labels_saved(row: pd.Series) -> str:
    if np.isnan(row.needed):
        return ""
    if np.isnan(row.saved):
        return f"never (random: {row.needed:.0f})"
    return f"{row.saved:.0f} of {row.needed:.0f}".replace("-", "−")


def differences_table(frame: pd.DataFrame) -> ReportTable:
    """The paired differences in percentage points.

    frame: from analysis.compare_with_baselines."""
    rows = [
        {title: row[name] for name, title in _COLUMN_TITLES.items()}
        | {
            "against": row.against,
            "of": "area" if row["of"] == "area" else f"at {row.labels:.0f} labels",
            "n": f"{row.n} {row.over}",
            "difference": _format_signed(row["mean"]),
            "95 % by t": _format_interval(row.t_low, row.t_high),
            "95 % by bootstrap": _format_interval(row.boot_low, row.boot_high),
            "p of t": _format_p_value(row.t_p, row.n),
            "p of Wilcoxon": _format_p_value(row.wilcoxon_p, row.n),
        }
        for _, row in frame.iterrows()
    ]
    note = (
        "Mean difference in percentage points over the splits that both rows have (the seeds of a "
        "split are averaged). Each row is compared with random selection under the same training, "
        "and with its own method trained on the labels only. p: two-sided, after Holm's correction "
        "over all rows of a data set that compare the same quantity. With fewer than "
        f"{MIN_PAIRS} shared splits {FEW_PAIRS_NOTE}, and no p is given; with {MIN_PAIRS}, "
        "Wilcoxon's cannot be below 0.0625."
    )
    columns = [*_COLUMN_TITLES.values(), "against", "of", "n", "difference"]
    columns += ["95 % by t", "95 % by bootstrap", "p of t", "p of Wilcoxon"]
    return ReportTable(
        "differences", "Paired differences", pd.DataFrame(rows, columns=columns), note
    )


def penalties_table(frame: pd.DataFrame) -> ReportTable:
    """The penalty matrix and the mean of each column.

    frame: from analysis.compare_methods."""
    if frame.isna().all(axis=None):
        note = f"With fewer than {MIN_PAIRS} shared splits {FEW_PAIRS_NOTE}: nothing was compared."
        return ReportTable("penalties", "Pairwise penalties", pd.DataFrame(), note)
    means = frame.mean().rename("mean of the column")
    with_means = pd.concat([frame, means.to_frame().T])
    rows = with_means.map(lambda value: _format_number(value, 2))
    rows.insert(0, "beats", with_means.index)
    note = (
        "How often the row beats the column: by a two-sided t-test at level 0.05 at each number of "
        "labels; each setting (data set and training) counts at most 1 (Ash et al., ICLR 2020). A "
        "small column mean is good: that method is seldom beaten. Empty: never compared."
    )
    return ReportTable("penalties", "Pairwise penalties", rows.reset_index(drop=True), note)


def _format_number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:,.{digits}f}"


def _format_mean_std(mean: float, std: float) -> str:
    words = _format_number(mean, 1)
    return words if np.isnan(std) or not words else f"{words} ± {std:.1f}"


def _format_range(low: float, high: float) -> str:
    return "" if np.isnan(low) or low == high else f"{low:.0f} to {high:.0f}"


def _format_signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _format_interval(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"{_format_signed(low)} to {_format_signed(high)}"


def _format_p_value(value: float, n: int) -> str:
    if n < MIN_PAIRS:
        return f"n < {MIN_PAIRS}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
