"""What the groups of a report are called: data set, training, method, and what tells them apart.

No algorithm is named here: the words are those of the options.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass

from utils.console import one_line

SAMPLED = ("split", "seed")  # the options in which the runs of a group differ
_SWITCH = "add_"  # what the options begin with that add a training, add_<name>
_PRETRAINING = "add_unsupervised_pretraining"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Label:
    """What a group is called."""

    dataset: str
    parts: tuple[str, ...]  # of the training
    method: str

    @property
    def training(self) -> str:
        return " + ".join(self.parts) or "labels only"


def labels(whos: list[dict]) -> list[Label]:
    """A label for each identity, no two the same.  Those that share data set, training and method
    have in brackets what differs among them."""
    plain = [_plain(who["options"]) for who in whos]
    sharing = defaultdict(list)
    for label, who in zip(plain, whos, strict=True):
        sharing[label].append(_facts(who))
    named = []
    for label, who in zip(plain, whos, strict=True):
        words = _difference(_facts(who), sharing[label])
        method = f"{label.method} ({', '.join(words)})" if words else label.method
        named.append(Label(label.dataset, label.parts, method))
    return named


def added(options: dict) -> list[str]:
    """The trainings on unlabeled images that these options add, pre-training not among them."""
    on = [name for name, value in options.items() if name.startswith(_SWITCH) and value is True]
    return sorted(name.removeprefix(_SWITCH) for name in on if name != _PRETRAINING)


def _plain(options: dict) -> Label:
    parts = [name.upper() for name in added(options)]
    if options.get(_PRETRAINING) is True:
        parts.insert(0, "PRE")
    return Label(
        one_line(options["dataset"]), tuple(map(one_line, parts)), one_line(options["al_method"])
    )


def _facts(who: dict) -> dict[str, str]:
    """All that a group is, name -> JSON: its options, then what else is in its identity."""
    options = {name: value for name, value in who["options"].items() if name not in SAMPLED}
    more = {name: value for name, value in who.items() if name not in ("options", "initial")}
    return {
        name: json.dumps(facts[name], sort_keys=True)
        for facts in (options, more)
        for name in sorted(facts)
    }


def _difference(facts: dict[str, str], others: list[dict[str, str]]) -> list[str]:
    """In words, those of the facts that are not the same in all the others."""
    return [
        one_line(f"{name} {_words(name, text)}")
        for name, text in facts.items()
        if any(other.get(name) != text for other in others)
    ]


def _words(name: str, text: str) -> str:
    value = json.loads(text)
    return str(value)[:6] if name == "data" else str(value)


def order(label: Label) -> tuple:
    """A key to sort by: data set, few parts of the training before many, method."""
    return label.dataset, len(label.parts), label.parts, natural(label.method)


def natural(text: str) -> list:
    """A key to sort by: numbers by their size."""
    return [float(part) if i % 2 else part for i, part in enumerate(_NUMBER.split(text))]


def counted(number: int, thing: str) -> str:
    """1 split, 2 splits."""
    return f"{number} {thing}" + ("s" if number != 1 else "")
