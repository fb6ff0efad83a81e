"""What the groups of a report are called: data set, training, method, and what tells them apart.

No algorithm is named here: the words are those of the options.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass

from utils.console import to_one_line

REPLICATE_OPTIONS = ("split", "seed")  # the options in which the runs of a group differ
_TRAINING_PREFIX = "add_"  # what the options begin with that add a training, add_<name>
_PRETRAINING_OPTION = "add_unsupervised_pretraining"
_NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class GroupName:
    """What a group is called."""

    dataset: str
    training_parts: tuple[str, ...]  # of the training
    method: str

    @property
    def training(self) -> str:
        return " + ".join(self.training_parts) or "labels only"


def make_group_names(whos: list[dict]) -> list[GroupName]:
    """A label for each identity, no two the same.  Those that share data set, training and method
    have in brackets what differs among them."""
    plain = [_short_name(who["options"]) for who in whos]
    sharing = defaultdict(list)
    for label, who in zip(plain, whos, strict=True):
        sharing[label].append(_identity_facts(who))
    named = []
    for label, who in zip(plain, whos, strict=True):
        words = _describe_differences(_identity_facts(who), sharing[label])
        method = f"{label.method} ({', '.join(words)})" if words else label.method
        named.append(GroupName(label.dataset, label.training_parts, method))
    return named


def semisup_names(options: dict) -> list[str]:
    """The trainings on unlabeled images that these options add, pre-training not among them."""
    on = [
        name
        for name, value in options.items()
        if name.startswith(_TRAINING_PREFIX) and value is True
    ]
    return sorted(name.removeprefix(_TRAINING_PREFIX) for name in on if name != _PRETRAINING_OPTION)


def _short_name(options: dict) -> GroupName:
    parts = [name.upper() for name in semisup_names(options)]
    if options.get(_PRETRAINING_OPTION) is True:
        parts.insert(0, "PRE")
    return GroupName(
        to_one_line(options["dataset"]),
        tuple(map(to_one_line, parts)),
        to_one_line(options["al_method"]),
    )


def _identity_facts(who: dict) -> dict[str, str]:
    """All that a group is, name -> JSON: its options, then what else is in its identity."""
    options = {
        name: value for name, value in who["options"].items() if name not in REPLICATE_OPTIONS
    }
    more = {name: value for name, value in who.items() if name not in ("options", "initial")}
    return {
        name: json.dumps(facts[name], sort_keys=True)
        for facts in (options, more)
        for name in sorted(facts)
    }


def _describe_differences(facts: dict[str, str], others: list[dict[str, str]]) -> list[str]:
    """In words, those of the facts that are not the same in all the others."""
    return [
        to_one_line(f"{name} {_value_text(name, text)}")
        for name, text in facts.items()
        if any(other.get(name) != text for other in others)
    ]


def _value_text(name: str, text: str) -> str:
    value = json.loads(text)
    return str(value)[:6] if name == "data" else str(value)


def group_sort_key(label: GroupName) -> tuple:
    """A key to sort by: data set, few parts of the training before many, method."""
    return (
        label.dataset,
        len(label.training_parts),
        label.training_parts,
        natural_sort_key(label.method),
    )


def natural_sort_key(text: str) -> list:
    """A key to sort by: numbers by their size."""
    return [float(part) if i % 2 else part for i, part in enumerate(_NUMBER_PATTERN.split(text))]


def pluralize(number: int, thing: str) -> str:
    """1 split, 2 splits."""
    return f"{number} {thing}" + ("s" if number != 1 else "")
