"""The tables of a report as people read them: titles, cells in words, and what they mean."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.paired_tests import ENOUGH
from reports.summary import caption, cell

_NAMES = {"dataset": "data set", "training": "training", "method": "method"}
FEW = "a test means little"


@dataclass(frozen=True)
class Table:
    """key: a name for files and anchors; rows: cells in words; note: what they are."""

    key: str
    title: str
    rows: pd.DataFrame
    note: str


def accuracies(summary: pd.DataFrame, measure: str) -> list[Table]:
    """A table a data set: a row a group, a column a number of labels."""
    tables = []
    for dataset, part in summary.groupby("dataset"):
        rows = []
        for _, group in part.groupby("group"):
            first = group.iloc[0]
            row = {"training": first.training, "method": first.method, "over": first.over}
            rows.append(row | {f"{r.labeled} labels": cell(r) for r in group.itertuples()})
        columns = ["training", "method", "over"]
        columns += [f"{n} labels" for n in sorted(part.labeled.unique())]
        frame = pd.DataFrame(rows, columns=columns).fillna("")
        note = f"{measure} in percent: {caption(part)}; n: over how many runs, where not over all."
        tables.append(Table(f"accuracy-{len(tables)}", f"{dataset}: {measure}", frame, note))
    return tables


def budgets(overview: pd.DataFrame) -> Table:
    """Area under the budget curve, labels saved, and cost."""
    rows = [
        {title: row[name] for name, title in _NAMES.items()}
        | {
            "n": str(row.runs),
            "labels": _number(row.labels, 0),
            "accuracy": _spread(row["mean"], row["std"]),
            "area": _spread(row.area, row.area_std),
            "area over labels": _range(row.area_from, row.area_to),
            "labels saved": _saved(row),
            "steps": _number(row.steps, 0),
            "images seen": _number(row.images, 0),
            "seconds": _number(row.seconds, 1),
        }
        for _, row in overview.iterrows()
    ]
    note = (
        "Accuracy is that of the last cycle, at so many labels. Area: the mean height of the "
        "curve over the numbers of labels that all runs of a data set and budget have. Labels "
        "saved: how many fewer than random choice the mean curve needs, between its points on "
        "straight lines, for the accuracy with which random ends, over the runs that both have;"
        " \u201cnever\u201d: it does not get there. Steps, images seen (with repetition) and "
        "seconds are of a whole run without pre-training, means; images are not known of "
        "FixMatch."
    )
    return Table("budget", "Area, labels saved, cost", pd.DataFrame(rows), note)


def _saved(row) -> str:
    if np.isnan(row.needed):
        return ""
    if np.isnan(row.saved):
        return f"never (random: {row.needed:.0f})"
    return f"{row.saved:.0f} of {row.needed:.0f}".replace("-", "−")


def differences(frame: pd.DataFrame) -> Table:
    """The paired differences, in points."""
    rows = [
        {title: row[name] for name, title in _NAMES.items()}
        | {
            "against": row.against,
            "of": "area" if row["of"] == "area" else f"at {row.labels:.0f} labels",
            "n": f"{row.n} {row.over}",
            "difference": _signed(row["mean"]),
            "95 % by t": _interval(row.t_low, row.t_high),
            "95 % by bootstrap": _interval(row.boot_low, row.boot_high),
            "p of t": _p(row.t_p, row.n),
            "p of Wilcoxon": _p(row.wilcoxon_p, row.n),
        }
        for _, row in frame.iterrows()
    ]
    note = (
        "Mean difference in points over the splits that both rows have (seeds of a split are "
        "averaged). Each row against random choice under the same training, and against its own"
        " method on the labels alone. p: two-sided, by Holm's correction over all rows of a "
        f"data set that compare the same thing. With fewer than {ENOUGH} shared splits {FEW}, "
        f"and no p is given; with {ENOUGH} Wilcoxon's cannot be below 0.0625."
    )
    columns = [*_NAMES.values(), "against", "of", "n", "difference"]
    columns += ["95 % by t", "95 % by bootstrap", "p of t", "p of Wilcoxon"]
    return Table("differences", "Paired differences", pd.DataFrame(rows, columns=columns), note)


def penalties(frame: pd.DataFrame) -> Table:
    """The penalty matrix with the mean of each column."""
    if frame.isna().all(axis=None):
        note = f"With fewer than {ENOUGH} shared splits {FEW}: nothing was compared."
        return Table("penalties", "Pairwise penalties", pd.DataFrame(), note)
    means = frame.mean().rename("mean of the column")
    whole = pd.concat([frame, means.to_frame().T])
    rows = whole.map(lambda value: _number(value, 2))
    rows.insert(0, "beats", whole.index)
    note = (
        "How often the row beats the column: by a two-sided t-test at 0.05 at each number of "
        "labels, each setting (data set and training) counted 1 at the most (Ash et al., ICLR "
        "2020). A small mean of a column is good: that method is seldom beaten. Empty: never "
        "compared."
    )
    return Table("penalties", "Pairwise penalties", rows.reset_index(drop=True), note)


def _number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:,.{digits}f}"


def _spread(mean: float, std: float) -> str:
    words = _number(mean, 1)
    return words if np.isnan(std) or not words else f"{words} ± {std:.1f}"


def _range(low: float, high: float) -> str:
    return "" if np.isnan(low) or low == high else f"{low:.0f} to {high:.0f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) or np.isnan(high) else f"{_signed(low)} to {_signed(high)}"


def _p(value: float, n: int) -> str:
    if n < ENOUGH:
        return f"n < {ENOUGH}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
