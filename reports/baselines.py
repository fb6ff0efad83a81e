"""Which groups of a report are compared with which."""

from collections.abc import Callable
from itertools import combinations

from reports.group_names import REPLICATE_OPTIONS
from reports.runs import RunGroup

_BASELINE_METHOD = "random"
_METHOD_OPTION = "al_method"
# Curves that differ in these have other numbers of labels.
_LABEL_COUNT_OPTIONS = ("al_budget", "initial_size")


def random_baseline(group: RunGroup, groups: list[RunGroup]) -> RunGroup | None:
    """Random selection with otherwise equal options.

    The baseline may lack options of the group, such as those of its method or of the way to choose
    the first labels; the group that lacks the fewest is taken.  None if there is no such group, or
    if two are equally close."""
    own_options = set(group.identity["options"])
    candidates = [
        other
        for other in groups
        if other is not group
        and other.display_name.dataset == group.display_name.dataset
        and other.display_name.training_parts == group.display_name.training_parts
        and other.identity["options"][_METHOD_OPTION] == _BASELINE_METHOD
        and own_options.issuperset(other.identity["options"])
        and not _find_differences(group, other)
    ]
    return _nearest_group(
        candidates, lambda other: len(own_options - set(other.identity["options"]))
    )


def supervised_baseline(group: RunGroup, groups: list[RunGroup]) -> RunGroup | None:
    """The same method trained on the labels only, with the fewest other differences.

    None if there is no such group, if two are equally close, or if the group is itself trained on
    the labels only."""
    candidates = [
        other
        for other in groups
        if not other.display_name.training_parts
        and group.display_name.training_parts
        and other.display_name.dataset == group.display_name.dataset
        and other.identity["options"][_METHOD_OPTION] == group.identity["options"][_METHOD_OPTION]
        and _is_comparable(group, other)
    ]
    return _nearest_group(candidates, lambda other: len(_find_differences(group, other)))


def _nearest_group(
    candidates: list[RunGroup], distance: Callable[[RunGroup], int]
) -> RunGroup | None:
    """The candidate at the smallest distance; None for a tie, or without candidates."""
    candidates = sorted(candidates, key=distance)
    tie = len(candidates) > 1 and distance(candidates[0]) == distance(candidates[1])
    return None if tie or not candidates else candidates[0]


def method_pairs(groups: list[RunGroup]) -> list[tuple[RunGroup, RunGroup]]:
    """Pairs of groups that differ only in the method.

    Data set, training, budget, network and all other options that both groups read are equal."""
    return [
        (one, two)
        for one, two in combinations(groups, 2)
        if (one.display_name.dataset, one.display_name.training_parts)
        == (two.display_name.dataset, two.display_name.training_parts)
        and not _find_differences(one, two)
    ]


def _is_comparable(one: RunGroup, two: RunGroup) -> bool:
    return not {*_LABEL_COUNT_OPTIONS, "data", "results"} & _find_differences(one, two)


def _find_differences(one: RunGroup, two: RunGroup) -> set[str]:
    """Names of the options and identity entries that both groups have with different values,
    except for the method."""
    facts = [
        {
            **group.identity["options"],
            "data": group.identity.get("data"),
            "results": group.identity.get("results"),
        }
        for group in (one, two)
    ]
    shared = (set(facts[0]) & set(facts[1])) - {_METHOD_OPTION, *REPLICATE_OPTIONS}
    return {name for name in shared if facts[0][name] != facts[1][name]}
