"""Names for the groups of a report: data set, training, method, and distinguishing options.

No training algorithm is named here: their names follow from the options that select them.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from utils.console import to_one_line

REPLICATE_OPTIONS = ("split", "seed")  # the options in which the runs of a group may differ
_TRAINING_PREFIX = "add_"  # options add_<name> select a training algorithm
_PRETRAINING_OPTION = "add_unsupervised_pretraining"
_NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class GroupName:
    """The name of a group; training_parts: what it trains with besides the labels."""

    dataset: str
    training_parts: tuple[str, ...]
    method: str

    @property
    def training(self) -> str:
        return " + ".join(self.training_parts) or "supervised baseline"


def make_group_names(identities: list[dict[str, Any]]) -> list[GroupName]:
    """A distinct name for each identity.

    If several share data set, training and method, the options in which they differ follow the
    method in brackets."""
    short_names = [_short_name(identity["options"]) for identity in identities]
    namesakes = defaultdict(list)
    for name, identity in zip(short_names, identities, strict=True):
        namesakes[name].append(_identity_facts(identity))
    names = []
    for name, identity in zip(short_names, identities, strict=True):
        words = _describe_differences(_identity_facts(identity), namesakes[name])
        method = f"{name.method} ({', '.join(words)})" if words else name.method
        names.append(GroupName(name.dataset, name.training_parts, method))
    return names


def semisup_names(options: dict[str, Any]) -> list[str]:
    """The training algorithms that these options select, sorted, without pre-training."""
    selected = [
        name
        for name, value in options.items()
        if name.startswith(_TRAINING_PREFIX) and value is True
    ]
    return sorted(
        name.removeprefix(_TRAINING_PREFIX) for name in selected if name != _PRETRAINING_OPTION
    )


def _short_name(options: dict[str, Any]) -> GroupName:
    parts = [name.upper() for name in semisup_names(options)]
    if options.get(_PRETRAINING_OPTION) is True:
        parts.insert(0, "PRE")
    return GroupName(
        to_one_line(options["dataset"]),
        tuple(map(to_one_line, parts)),
        to_one_line(options["al_method"]),
    )


def _identity_facts(identity: dict[str, Any]) -> dict[str, str]:
    """Everything that defines a group, name -> JSON: the options, then the rest of its identity."""
    options = {
        name: value for name, value in identity["options"].items() if name not in REPLICATE_OPTIONS
    }
    not_facts = ("options", "initial", "classes")  # `initial` follows from the split
    others = {name: value for name, value in identity.items() if name not in not_facts}
    return {
        name: json.dumps(facts[name], sort_keys=True)
        for facts in (options, others)
        for name in sorted(facts)
    }


def _describe_differences(facts: dict[str, str], others: list[dict[str, str]]) -> list[str]:
    """The facts, as text, that are not the same in all the others."""
    return [
        to_one_line(f"{name} {_value_text(name, text)}")
        for name, text in facts.items()
        if any(other.get(name) != text for other in others)
    ]


def _value_text(name: str, text: str) -> str:
    value = json.loads(text)
    return str(value)[:6] if name == "data" else str(value)


def group_sort_key(name: GroupName) -> tuple:
    """Sorts by data set, number of parts of the training, training, and method."""
    return (
        name.dataset,
        len(name.training_parts),
        name.training_parts,
        natural_sort_key(name.method),
    )


def natural_sort_key(text: str) -> list[str | float]:
    """Sorts text with the numbers in it by value: "lr 2" before "lr 10"."""
    return [float(part) if i % 2 else part for i, part in enumerate(_NUMBER_PATTERN.split(text))]
