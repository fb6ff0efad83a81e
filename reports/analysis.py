"""All numbers of a report, from the groups of runs: frames that the tables and the page show."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from reports import baselines, penalty
from reports.cost import COST_COLUMNS as COSTS
from reports.cost import run_cost
from reports.file_names import GROUP_COLUMNS
from reports.label_savings import area_under_curve, labels_saved
from reports.paired_tests import difference_statistics, holm_correction, pair_differences
from reports.runs import RunGroup

_P_VALUE_COLUMNS = ("t_p", "wilcoxon_p")


class LearningCurves:
    """The measure of every group by number of labels, split and seed.

    of[i]: of group i, a frame: a row a run, indexed by split and seed, a column a number of labels;
    areas[i]: of its runs, over `common[i]`, the numbers of labels that all runs of its data set and
    budget have, so that they can be compared."""

    def __init__(self, groups: list[RunGroup], measure: str):
        self.by_group = [_make_curves(group, measure) for group in groups]
        shared = {}
        for group, curves in zip(groups, self.by_group, strict=True):
            whole = set(curves.dropna(axis="columns").columns)
            shared[_budget_key(group)] = shared.get(_budget_key(group), whole) & whole
        self.shared_label_counts = [sorted(shared[_budget_key(group)]) for group in groups]
        self.areas = [
            curves[common].apply(lambda row: area_under_curve(row.index, row), axis="columns")
            for curves, common in zip(self.by_group, self.shared_label_counts, strict=True)
        ]


def _budget_key(group: RunGroup) -> tuple:
    return group.display_name.dataset, group.identity["options"].get("al_budget")


def _make_curves(group: RunGroup, measure: str) -> pd.DataFrame:
    rows = {
        (sample.split, sample.seed): sample.results.set_index("labeled")[measure]
        for sample in group.runs
        if measure in sample.results
    }
    index = pd.MultiIndex.from_tuples(rows, names=["split", "seed"]) if rows else None
    frame = pd.DataFrame(list(rows.values()), index=index)
    return frame[sorted(frame.columns)]


def summarize_budget(
    groups: list[RunGroup], curves: LearningCurves, seen: Callable
) -> pd.DataFrame:
    """A row a group: NAMES; runs; labels, its last number of labels; mean, std there; area_from,
    area_to, area, area_std; saved, of so many labels that random needs (`needed`); COSTS, the means
    of its runs (seen: as cost.cost takes it)."""
    rows = []
    for number, group in enumerate(groups):
        found, areas, common = (
            curves.by_group[number],
            curves.areas[number],
            curves.shared_label_counts[number],
        )
        last = found.columns[-1] if len(found.columns) else np.nan
        final = found[last] if len(found.columns) else pd.Series(dtype=float)
        saved, needed = _labels_saved_vs_random(groups, curves, number)
        costs = pd.DataFrame([run_cost(sample, seen) for sample in group.runs])
        row = _name_columns(group) | {"runs": len(group.runs), "labels": last}
        row |= {"mean": final.mean(), "std": final.std()}
        row |= {"area_from": common[0] if common else np.nan}
        row |= {"area_to": common[-1] if common else np.nan}
        row |= {"area": areas.mean(), "area_std": areas.std(), "saved": saved, "needed": needed}
        rows.append(row | {name: costs[name].mean(skipna=False) for name in COSTS})
    return pd.DataFrame(rows)


def _labels_saved_vs_random(
    groups: list[RunGroup], curves: LearningCurves, number: int
) -> tuple[float, float]:
    """Over the mean curves of the runs that the group and random choice share."""
    other = baselines.random_baseline(groups[number], groups)
    if other is None:
        return np.nan, np.nan
    mine, theirs = curves.by_group[number], curves.by_group[groups.index(other)]
    shared = mine.index.intersection(theirs.index)
    mine, theirs = mine.loc[shared].mean(skipna=False), theirs.loc[shared].mean(skipna=False)
    both = (mine.dropna().index).intersection(theirs.dropna().index)
    return labels_saved(both, mine[both], theirs[both]) if len(both) else (np.nan, np.nan)


def _name_columns(group: RunGroup) -> dict[str, str]:
    return {name: getattr(group.display_name, name) for name in GROUP_COLUMNS}


def compare_with_baselines(groups: list[RunGroup], curves: LearningCurves) -> pd.DataFrame:
    """A row a comparison: NAMES; against, the row that it is compared with; of, "area" or "last";
    labels, where that is; over, what n counts; and paired.compare's.

    Each row is compared with random choice under the same training, and with its own method on the
    labels alone.  The p-values are corrected over all rows of a data set that compare the same
    thing."""
    rows = []
    for number, group in enumerate(groups):
        for find in (baselines.random_baseline, baselines.supervised_baseline):
            other = find(group, groups)
            if other is None:
                continue
            against = (
                other.display_name.method
                if find is baselines.random_baseline
                else other.display_name.training
            )
            start = _name_columns(group) | {"against": against}
            rows += [start | found for found in _compare_two(curves, number, groups.index(other))]
    columns = [
        *GROUP_COLUMNS,
        "against",
        "of",
        "labels",
        "over",
        *difference_statistics(np.empty(0)),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    for test in _P_VALUE_COLUMNS:
        families = frame.groupby(["dataset", "of"])[test]
        frame[test] = families.transform(holm_correction) if len(frame) else frame[test]
    return frame


def _compare_two(curves: LearningCurves, one: int, two: int) -> list[dict]:
    """The areas, and what both have at the last number of labels that they share."""
    found = []
    if len(curves.shared_label_counts[one]) > 1:
        units, over = pair_differences(curves.areas[one], curves.areas[two])
        found.append(("area", np.nan, units, over))
    counts = curves.by_group[one].columns.intersection(curves.by_group[two].columns)
    if len(counts):
        last = counts.max()
        units, over = pair_differences(curves.by_group[one][last], curves.by_group[two][last])
        found.append(("last", last, units, over))
    return [
        {"of": of, "labels": labels, "over": over, **difference_statistics(units)}
        for of, labels, units, over in found
        if len(units)
    ]


def compare_methods(groups: list[RunGroup], curves: LearningCurves) -> pd.DataFrame:
    """penalty.matrix over all settings: pairs of one data set and training."""
    compared = defaultdict(list)
    for one, two in baselines.method_pairs(groups):
        mine, theirs = (curves.by_group[groups.index(group)] for group in (one, two))
        for labels in mine.columns.intersection(theirs.columns):
            units, _ = pair_differences(mine[labels], theirs[labels])
            compared[
                one.full_name, two.full_name, one.display_name.method, two.display_name.method
            ].append(units)
    return penalty.penalty_matrix([(i, j, units) for (_, _, i, j), units in compared.items()])
