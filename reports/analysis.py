"""All numbers of a report, from the groups of runs: frames that the tables and the page show."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from reports import baselines, penalty
from reports.cost import COLUMNS as COSTS
from reports.cost import cost
from reports.file_names import NAMES
from reports.label_savings import area, labels_saved
from reports.paired_tests import compare, holm, pairs
from reports.runs import Group

_TESTS = ("t_p", "wilcoxon_p")


class Curves:
    """The measure of every group by number of labels, split and seed.

    of[i]: of group i, a frame: a row a run, indexed by split and seed, a column a number of labels;
    areas[i]: of its runs, over `common[i]`, the numbers of labels that all runs of its data set and
    budget have, so that they can be compared."""

    def __init__(self, groups: list[Group], measure: str):
        self.of = [_curves(group, measure) for group in groups]
        shared = {}
        for group, curves in zip(groups, self.of, strict=True):
            whole = set(curves.dropna(axis="columns").columns)
            shared[_budget(group)] = shared.get(_budget(group), whole) & whole
        self.common = [sorted(shared[_budget(group)]) for group in groups]
        self.areas = [
            curves[common].apply(lambda row: area(row.index, row), axis="columns")
            for curves, common in zip(self.of, self.common, strict=True)
        ]


def _budget(group: Group) -> tuple:
    return group.label.dataset, group.who["options"].get("al_budget")


def _curves(group: Group, measure: str) -> pd.DataFrame:
    rows = {
        (sample.split, sample.seed): sample.results.set_index("labeled")[measure]
        for sample in group.samples
        if measure in sample.results
    }
    index = pd.MultiIndex.from_tuples(rows, names=["split", "seed"]) if rows else None
    frame = pd.DataFrame(list(rows.values()), index=index)
    return frame[sorted(frame.columns)]


def overview(groups: list[Group], curves: Curves, seen: Callable) -> pd.DataFrame:
    """A row a group: NAMES; runs; labels, its last number of labels; mean, std there; area_from,
    area_to, area, area_std; saved, of so many labels that random needs (`needed`); COSTS, the means
    of its runs (seen: as cost.cost takes it)."""
    rows = []
    for number, group in enumerate(groups):
        found, areas, common = curves.of[number], curves.areas[number], curves.common[number]
        last = found.columns[-1] if len(found.columns) else np.nan
        final = found[last] if len(found.columns) else pd.Series(dtype=float)
        saved, needed = _saved(groups, curves, number)
        costs = pd.DataFrame([cost(sample, seen) for sample in group.samples])
        row = _names(group) | {"runs": len(group.samples), "labels": last}
        row |= {"mean": final.mean(), "std": final.std()}
        row |= {"area_from": common[0] if common else np.nan}
        row |= {"area_to": common[-1] if common else np.nan}
        row |= {"area": areas.mean(), "area_std": areas.std(), "saved": saved, "needed": needed}
        rows.append(row | {name: costs[name].mean(skipna=False) for name in COSTS})
    return pd.DataFrame(rows)


def _saved(groups: list[Group], curves: Curves, number: int) -> tuple[float, float]:
    """Over the mean curves of the runs that the group and random choice share."""
    other = baselines.baseline(groups[number], groups)
    if other is None:
        return np.nan, np.nan
    mine, theirs = curves.of[number], curves.of[groups.index(other)]
    shared = mine.index.intersection(theirs.index)
    mine, theirs = mine.loc[shared].mean(skipna=False), theirs.loc[shared].mean(skipna=False)
    both = (mine.dropna().index).intersection(theirs.dropna().index)
    return labels_saved(both, mine[both], theirs[both]) if len(both) else (np.nan, np.nan)


def _names(group: Group) -> dict[str, str]:
    return {name: getattr(group.label, name) for name in NAMES}


def differences(groups: list[Group], curves: Curves) -> pd.DataFrame:
    """A row a comparison: NAMES; against, the row that it is compared with; of, "area" or "last";
    labels, where that is; over, what n counts; and paired.compare's.

    Each row is compared with random choice under the same training, and with its own method on the
    labels alone.  The p-values are corrected over all rows of a data set that compare the same
    thing."""
    rows = []
    for number, group in enumerate(groups):
        for find in (baselines.baseline, baselines.unaided):
            other = find(group, groups)
            if other is None:
                continue
            against = other.label.method if find is baselines.baseline else other.label.training
            start = _names(group) | {"against": against}
            rows += [start | found for found in _compared(curves, number, groups.index(other))]
    columns = [*NAMES, "against", "of", "labels", "over", *compare(np.empty(0))]
    frame = pd.DataFrame(rows, columns=columns)
    for test in _TESTS:
        families = frame.groupby(["dataset", "of"])[test]
        frame[test] = families.transform(holm) if len(frame) else frame[test]
    return frame


def _compared(curves: Curves, one: int, two: int) -> list[dict]:
    """The areas, and what both have at the last number of labels that they share."""
    found = []
    if len(curves.common[one]) > 1:
        units, over = pairs(curves.areas[one], curves.areas[two])
        found.append(("area", np.nan, units, over))
    counts = curves.of[one].columns.intersection(curves.of[two].columns)
    if len(counts):
        last = counts.max()
        units, over = pairs(curves.of[one][last], curves.of[two][last])
        found.append(("last", last, units, over))
    return [
        {"of": of, "labels": labels, "over": over, **compare(units)}
        for of, labels, units, over in found
        if len(units)
    ]


def penalties(groups: list[Group], curves: Curves) -> pd.DataFrame:
    """penalty.matrix over all settings: pairs of one data set and training."""
    compared = defaultdict(list)
    for one, two in baselines.rivals(groups):
        mine, theirs = (curves.of[groups.index(group)] for group in (one, two))
        for labels in mine.columns.intersection(theirs.columns):
            units, _ = pairs(mine[labels], theirs[labels])
            compared[one.name, two.name, one.label.method, two.label.method].append(units)
    return penalty.matrix([(i, j, units) for (_, _, i, j), units in compared.items()])
