"""All numbers of a report as data frames, computed from the groups of runs."""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from reports import baselines, penalty
from reports.cost import COST_COLUMNS, ImageCounter, run_cost
from reports.file_names import GROUP_COLUMNS
from reports.label_savings import area_under_curve, labels_saved
from reports.paired_tests import difference_statistics, holm_correction, pair_differences
from reports.runs import RunGroup

_P_VALUE_COLUMNS = ("t_p", "wilcoxon_p")


class LearningCurves:
    """The measure of every group by number of labels, split and seed.

    by_group[i]: data frame of group i, one row per run (index: split and seed), one column per
    number of labels.
    shared_label_counts[i]: the numbers of labels that all runs of the same data set and budget
    have, so that areas over them can be compared.
    areas[i]: area under the curve of each run of group i over shared_label_counts[i]."""

    def __init__(self, groups: list[RunGroup], measure: str):
        self.by_group = [_make_curves(group, measure) for group in groups]
        shared: dict[tuple, set[int]] = {}
        for group, curves in zip(groups, self.by_group, strict=True):
            complete = set(curves.dropna(axis="columns").columns)
            shared[_budget_key(group)] = shared.get(_budget_key(group), complete) & complete
        self.shared_label_counts = [sorted(shared[_budget_key(group)]) for group in groups]
        self.areas = [
            curves[counts].apply(lambda row: area_under_curve(row.index, row), axis="columns")
            for curves, counts in zip(self.by_group, self.shared_label_counts, strict=True)
        ]


def _budget_key(group: RunGroup) -> tuple:
    return group.display_name.dataset, group.identity["options"].get("al_budget")


def _make_curves(group: RunGroup, measure: str) -> pd.DataFrame:
    rows = {
        (run.split, run.seed): run.curve.set_index("labeled")[measure]
        for run in group.runs
        if measure in run.results
    }
    index = pd.MultiIndex.from_tuples(rows, names=["split", "seed"]) if rows else None
    frame = pd.DataFrame(list(rows.values()), index=index)
    return frame[sorted(frame.columns)]


def summarize_budget(
    groups: list[RunGroup], curves: LearningCurves, count_images: ImageCounter
) -> pd.DataFrame:
    """One row per group, with the columns of file_names.CSV_HEADERS["budget"].

    labels: the largest number of labels; mean, std: the measure there.
    area, area_std: area under the curve between area_from and area_to labels.
    saved: labels saved compared with random selection, which needs `needed` labels.
    steps, images, seconds: mean cost of a run (cost.run_cost)."""
    rows = []
    for i, group in enumerate(groups):
        frame, areas, counts = curves.by_group[i], curves.areas[i], curves.shared_label_counts[i]
        last = frame.columns[-1] if len(frame.columns) else np.nan
        final = frame[last] if len(frame.columns) else pd.Series(dtype=float)
        saved, needed = _labels_saved_vs_random(groups, curves, i)
        costs = pd.DataFrame([run_cost(run, count_images) for run in group.runs])
        row = _name_columns(group) | {"runs": len(group.runs), "labels": last}
        row |= {"mean": final.mean(), "std": final.std()}
        row |= {"area_from": counts[0] if counts else np.nan}
        row |= {"area_to": counts[-1] if counts else np.nan}
        row |= {"area": areas.mean(), "area_std": areas.std(), "saved": saved, "needed": needed}
        rows.append(row | {name: costs[name].mean(skipna=False) for name in COST_COLUMNS})
    return pd.DataFrame(rows)


def _labels_saved_vs_random(
    groups: list[RunGroup], curves: LearningCurves, number: int
) -> tuple[float, float]:
    """Computed from the mean curves over the splits and seeds that both the group and random
    selection have."""
    baseline = baselines.random_baseline(groups[number], groups)
    if baseline is None:
        return np.nan, np.nan
    mine, theirs = curves.by_group[number], curves.by_group[groups.index(baseline)]
    shared = mine.index.intersection(theirs.index)
    mine, theirs = mine.loc[shared].mean(skipna=False), theirs.loc[shared].mean(skipna=False)
    counts = (mine.dropna().index).intersection(theirs.dropna().index)
    if not len(counts):
        return np.nan, np.nan
    return labels_saved(counts, mine[counts], theirs[counts])


def _name_columns(group: RunGroup) -> dict[str, Any]:
    return {name: getattr(group.display_name, name) for name in GROUP_COLUMNS}


def compare_with_baselines(groups: list[RunGroup], curves: LearningCurves) -> pd.DataFrame:
    """One row per comparison, with the columns of file_names.CSV_HEADERS["differences"].

    Each group is compared with random selection under the same training, and with its own method
    trained on the labels only.  against: the method or training of the baseline; of: "area" or
    "last" (at `labels` labels); over: what n counts; the rest: paired_tests.difference_statistics.
    The p-values are corrected over all rows of a data set that compare the same quantity."""
    rows = []
    for number, group in enumerate(groups):
        for find in (baselines.random_baseline, baselines.supervised_baseline):
            baseline = find(group, groups)
            if baseline is None:
                continue
            against = (
                baseline.display_name.method
                if find is baselines.random_baseline
                else baseline.display_name.training
            )
            names = _name_columns(group) | {"against": against}
            comparisons = _compare_two(curves, number, groups.index(baseline))
            rows += [names | comparison for comparison in comparisons]
    statistics = difference_statistics(np.empty(0))
    columns = [*GROUP_COLUMNS, "against", "of", "labels", "over", *statistics]
    frame = pd.DataFrame(rows, columns=columns)
    for test in _P_VALUE_COLUMNS:
        families = frame.groupby(["dataset", "of"])[test]
        frame[test] = families.transform(holm_correction) if len(frame) else frame[test]
    return frame


def _compare_two(curves: LearningCurves, first: int, second: int) -> list[dict[str, Any]]:
    """Compares the areas, and the measure at the largest number of labels that both have."""
    pairs = []
    if len(curves.shared_label_counts[first]) > 1:
        pairs.append(("area", np.nan, *pair_differences(curves.areas[first], curves.areas[second])))
    counts = curves.by_group[first].columns.intersection(curves.by_group[second].columns)
    if len(counts):
        last = counts.max()
        mine, theirs = curves.by_group[first][last], curves.by_group[second][last]
        pairs.append(("last", last, *pair_differences(mine, theirs)))
    return [
        {"of": of, "labels": labels, "over": over, **difference_statistics(differences)}
        for of, labels, differences, over in pairs
        if len(differences)
    ]


def compare_methods(groups: list[RunGroup], curves: LearningCurves) -> pd.DataFrame:
    """The penalty matrix (penalty.penalty_matrix) over all settings.

    A setting is a pair of methods under one data set and training."""
    differences_by_pair = defaultdict(list)
    for one, two in baselines.method_pairs(groups):
        mine, theirs = (curves.by_group[groups.index(group)] for group in (one, two))
        for labels in mine.columns.intersection(theirs.columns):
            differences, _ = pair_differences(mine[labels], theirs[labels])
            key = one.full_name, two.full_name, one.display_name.method, two.display_name.method
            differences_by_pair[key].append(differences)
    return penalty.penalty_matrix(
        [(i, j, differences) for (_, _, i, j), differences in differences_by_pair.items()]
    )
