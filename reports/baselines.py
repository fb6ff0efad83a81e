"""Which rows of a report are compared with which."""

from collections.abc import Callable
from itertools import combinations

from reports.group_names import REPLICATE_OPTIONS
from reports.runs import RunGroup

_BASELINE_METHOD = "random"
_LABEL_COUNT_OPTIONS = ("al_budget", "initial_size")  # else the curves have other numbers of labels
_METHOD_OPTION = "al_method"


def random_baseline(group: RunGroup, groups: list[RunGroup]) -> RunGroup | None:
    """Random choice under otherwise the same options, and the fewest that it does not have, as a
    method's own or another way to the first labels; None where there is none, or two as near."""
    own = set(group.identity["options"])
    found = [
        other
        for other in groups
        if other is not group
        and other.display_name.dataset == group.display_name.dataset
        and other.display_name.training_parts == group.display_name.training_parts
        and other.identity["options"][_METHOD_OPTION] == _BASELINE_METHOD
        and own.issuperset(other.identity["options"])
        and not _find_differences(group, other)
    ]
    return _nearest_group(found, lambda other: len(own - set(other.identity["options"])))


def supervised_baseline(group: RunGroup, groups: list[RunGroup]) -> RunGroup | None:
    """The same method trained on the labels alone, with the fewest other differences; None where
    there is none, where two are as close, or for itself."""
    found = [
        other
        for other in groups
        if not other.display_name.training_parts
        and group.display_name.training_parts
        and other.display_name.dataset == group.display_name.dataset
        and other.identity["options"][_METHOD_OPTION] == group.identity["options"][_METHOD_OPTION]
        and _is_comparable(group, other)
    ]
    return _nearest_group(found, lambda other: len(_find_differences(group, other)))


def _nearest_group(found: list[RunGroup], distance: Callable[[RunGroup], int]) -> RunGroup | None:
    """The one of the least distance; None where two have it, or there is none."""
    found = sorted(found, key=distance)
    tie = len(found) > 1 and distance(found[0]) == distance(found[1])
    return None if tie or not found else found[0]


def method_pairs(groups: list[RunGroup]) -> list[tuple[RunGroup, RunGroup]]:
    """Pairs of one setting: data set, training, budget, network and all other options that both
    read; the method alone differs."""
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
    """Names of what both have and is not the same, the method aside."""
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
