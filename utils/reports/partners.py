"""Which rows of a report are compared with which."""

from itertools import combinations

from utils.reports.names import SAMPLED
from utils.reports.runs import Group

_BASELINE = "random"
_SAME = ("al_budget", "initial_size")  # else the curves have other numbers of labels
_METHOD = "al_method"


def baseline(group: Group, groups: list[Group]) -> Group | None:
    """Random choice under otherwise the same options; None where there is none, or for itself."""
    found = [
        other
        for other in groups
        if other.label.dataset == group.label.dataset
        and other.label.parts == group.label.parts
        and other.who["options"][_METHOD] == _BASELINE
        and not _differing(group, other)
    ]
    return found[0] if len(found) == 1 and found[0] is not group else None


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
    found.sort(key=lambda other: len(_differing(group, other)))
    tie = len(found) > 1 and len({len(_differing(group, other)) for other in found[:2]}) == 1
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
