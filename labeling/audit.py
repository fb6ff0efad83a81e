"""An audit: images that are queried at random, so that the accuracy can be estimated.

They are the first --audit of each cycle's queries, or all queries of --al-method random.  They are
labeled and trained on as all others; experiment.estimates uses answers that were given before.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import semisup
from al_methods import MethodOptions
from data.budget import BudgetOptions
from data.state import State
from semisup import ALGORITHMS
from utils.errors import UserError
from utils.options.converters import non_negative_integer
from utils.options.option import OptionGroup, OptionValues, option

RANDOM_METHOD = "random"


@dataclass(frozen=True)
class AuditOptions(OptionGroup):
    """Images that are queried at random."""

    section = "active learning"
    audit: int = option(
        0,
        "Number of images per cycle, of the budget, that are drawn at random instead of by "
        "--al-method: the estimate of the accuracy (estimates.csv) is then more certain.",
        type=non_negative_integer,
        metavar="N",
        after_first_cycle=True,
    )

    def check(self, options: OptionValues) -> None:
        budget = options.of(BudgetOptions).al_budget
        if self.audit >= budget:
            raise UserError(
                f"--audit {self.audit} leaves none of --al-budget {budget} to --al-method: use a "
                "smaller one, or --al-method random instead"
            )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        self.check(options)  # the budget may have been fitted to the data


def audit_size(options: OptionValues) -> int:
    """The number of first queries of each cycle but the first that are drawn at random."""
    if options.of(MethodOptions).al_method == RANDOM_METHOD:
        return options.of(BudgetOptions).al_budget
    return options.of(AuditOptions).audit


def makes_estimates(options: OptionValues) -> bool:
    """Whether a run has estimates: it propagates labels, or has an audit."""
    has_graph = ALGORITHMS[semisup.algorithm_name(options)].leave_one_out is not None
    return has_graph or options.of(AuditOptions).audit > 0


def stores_predictions(options: OptionValues) -> bool:
    """Whether the predictions of each cycle's network are kept for the later ones."""
    return makes_estimates(options) and audit_size(options) > 0


def draw_audit(
    options: OptionValues, labels: np.ndarray, candidates: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The images (n,) that --audit draws from the unlabeled candidates (M,), in random order.

    labels: (N,), -1 where unknown."""
    unlabeled = candidates[labels[candidates] < 0]
    return rng.choice(unlabeled, size=options.of(AuditOptions).audit, replace=False)


class Audit(NamedTuple):
    """Images of one cycle's queries, of those that have a label.

    cycle: that queried them.
    audited: (n,) drawn at random.
    chosen_since: (m,) those of this and later cycles that were not drawn at random."""

    cycle: int
    audited: np.ndarray
    chosen_since: np.ndarray


def list_audits(options: OptionValues, state: State) -> list[Audit]:
    """The audits so far, in order; without cycles that have none."""
    size = audit_size(options)
    drawn, chosen = [], []
    for cycle, record in enumerate(state.history[: state.num_answered_cycles]):
        count = size if cycle else 0
        if not cycle and options.of(MethodOptions).initial == RANDOM_METHOD:
            count = len(record.queried)
        images = record.queried
        drawn.append(images[:count][state.pool.labels[images[:count]] >= 0])
        chosen.append(images[count:][state.pool.labels[images[count:]] >= 0])
    return [
        Audit(cycle, audited, np.concatenate(chosen[cycle:]))
        for cycle, audited in enumerate(drawn)
        if len(audited)
    ]
