"""Which rows of a report are compared with which."""

from collections.abc import Callable
from itertools import combinations

from reports.group_names import SAMPLED
from reports.runs import Group

_BASELINE = "random"
_SAME = ("al_budget", "initial_size")  # else the curves have other numbers of labels
_METHOD = "al_method"


def baseline(group: Group, groups: list[Group]) -> Group | None:
    """Random choice under otherwise the same options, and the fewest that it does not have, as a
    method's own or another way to the first labels; None where there is none, or two as near."""
    own = set(group.who["options"])
    found = [
        other
        for other in groups
        if other is not group
        and other.label.dataset == group.label.dataset
        and other.label.parts == group.label.parts
        and other.who["options"][_METHOD] == _BASELINE
        and own.issuperset(other.who["options"])
        and not _differing(group, other)
    ]
    return _nearest(found, lambda other: len(own - set(other.who["options"])))


def unaided(group: Group, groups: list[Group]) -> Group | None:
    """The same method trained on the labels alone, with the fewest other differences; None where
    there is none, where two are as close, or for itself."""
    found = [
        other
        for other in groups
        if not other.label.parts
        and group.label.parts
        and other.label.dataset == group.label.dataset
        and other.who["options"][_METHOD] == group.who["options"][_METHOD]
        and _comparable(group, other)
    ]
    return _nearest(found, lambda other: len(_differing(group, other)))


def _nearest(found: list[Group], distance: Callable[[Group], int]) -> Group | None:
    """The one of the least distance; None where two have it, or there is none."""
    found = sorted(found, key=distance)
    tie = len(found) > 1 and distance(found[0]) == distance(found[1])
    return None if tie or not found else found[0]


def rivals(groups: list[Group]) -> list[tuple[Group, Group]]:
    """Pairs of one setting: data set, training, budget, network and all other options that both
    read; the method alone differs."""
    return [
        (one, two)
        for one, two in combinations(groups, 2)
        if (one.label.dataset, one.label.parts) == (two.label.dataset, two.label.parts)
        and not _differing(one, two)
    ]


def _comparable(one: Group, two: Group) -> bool:
    return not {*_SAME, "data", "results"} & _differing(one, two)


def _differing(one: Group, two: Group) -> set[str]:
    """Names of what both have and is not the same, the method aside."""
    facts = [
        {**group.who["options"], "data": group.who.get("data"), "results": group.who.get("results")}
        for group in (one, two)
    ]
    shared = (set(facts[0]) & set(facts[1])) - {_METHOD, *SAMPLED}
    return {name for name in shared if facts[0][name] != facts[1][name]}
