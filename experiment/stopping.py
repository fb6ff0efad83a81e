"""When a run may end before its last cycle: the labels are enough (--stop-when)."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from experiment.result_tables import NETWORK_MODEL
from utils.options.option import OptionGroup, OptionValues, option

GAIN, ACCURACY = "gain", "accuracy"


class StopRule(NamedTuple):
    """kind: GAIN or ACCURACY; limit: in percentage points, or in percent."""

    kind: str
    limit: float


def parse_rule(text: str) -> StopRule:
    """The rule in "gain:0.5" or "accuracy:95".  Raises ValueError for any other text."""
    kind, _, number = text.partition(":")
    limit = float(number)
    if kind not in (GAIN, ACCURACY) or not 0 < limit < 100:
        raise ValueError(text)
    return StopRule(kind, limit)


def stop_rule(text: str) -> str:
    """The type of --stop-when."""
    try:
        rule = parse_rule(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be {GAIN}: or {ACCURACY}: and a number above 0 and below 100, for "
            f"example {GAIN}:0.5 or {ACCURACY}:95"
        ) from None
    return f"{rule.kind}:{rule.limit:g}"


@dataclass(frozen=True)
class StoppingOptions(OptionGroup):
    """When a run may end early."""

    section = "active learning"
    stop_when: str | None = option(
        None,
        "End the run after a cycle in which the labels are enough, by the estimate without test "
        "set. gain:X: the next budget is expected to raise the accuracy by less than X percentage "
        "points. accuracy:Y: the lower end of its 95 % interval is at least Y percent.",
        type=stop_rule,
        metavar="RULE",
        identity=False,
        after_first_cycle=True,
    )


def stop_reason(
    options: OptionValues, cycle: int, estimates: Iterable[Mapping[str, Any]]
) -> str | None:
    """Why the run ends after this cycle, to follow "stopped: "; None if it goes on.

    estimates: rows of estimates.csv."""
    text = options.of(StoppingOptions).stop_when
    row = next((r for r in estimates if (r["cycle"], r["model"]) == (cycle, NETWORK_MODEL)), None)
    if text is None or row is None:
        return None
    rule = parse_rule(text)
    if rule.kind == GAIN and float(row["gain"]) < rule.limit:
        return (
            f"the next {options.al_budget} labels are expected to raise the accuracy by "
            f"{row['gain']} percentage points ({row['gain_low']} to {row['gain_high']}), less than "
            f"--stop-when {text}"
        )
    if rule.kind == ACCURACY and float(row["low"]) >= rule.limit:
        return (
            f"the accuracy is estimated as {row['accuracy']} % ({row['low']} to {row['high']} %), "
            f"at least --stop-when {text}"
        )
    return None
