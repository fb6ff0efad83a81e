"""How accurate the network and the propagated labels are on the unlabeled images, after each cycle.

No test set and no hidden label is used.  The evidence are answers that do not know the label of the
image:

* of the diffusion, with each label left out (semisup.leave_one_out), where the graph is the same in
  all cycles;
* else of the networks of earlier cycles, for images that were labeled later (State.predictions).

Those for audited images (labeling.audit) enter the estimate as a random sample.  Those for all
labeled images, and the confidences of the diffusion, enter only through the prior
(semisup.accuracy_prior), and only with a graph that is the same in all cycles: without one there is
no estimate without an audit.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import semisup
from data.active_pool import ActivePool
from data.budget import BudgetOptions
from data.pool import Pool
from data.state import State
from experiment.config import component_needs, has_static_graph
from experiment.result_tables import (
    ESTIMATE_COLUMNS,
    ESTIMATES_COLUMNS,
    NETWORK_MODEL,
    PROPAGATION_MODEL,
)
from labeling.audit import Audit, list_audits
from semisup import ALGORITHMS
from semisup.accuracy_posterior import (
    AccuracyPrior,
    AccuracyShift,
    AuditedBatch,
    AuditedModel,
    Posterior,
    estimate_accuracy,
    estimate_gain,
    find_posterior,
    find_posterior_beside,
)
from semisup.accuracy_prior import (
    ERROR_REDUCTIONS,
    PROPAGATION,
    SHIFT,
    SHIFT_EARLIER,
    WITHOUT_GRAPH,
    accuracy_prior,
    confidence_at_temperature,
)
from semisup.leave_one_out import LeaveOneOut
from training.network_outputs import NetworkOutputs
from utils.arrays import as_numpy
from utils.options.option import OptionValues, kwargs_for

MAX_LEFT_OUT = 512  # labeled images that are left out; one column is solved for each


class Propagated(NamedTuple):
    """What the labels say by the diffusion, and by the solver of the run.

    left_out: the images (M,) that `diffusion.left_out` is about."""

    diffusion: LeaveOneOut
    labels: np.ndarray
    left_out: np.ndarray


class Evidence(NamedTuple):
    """What an estimate is made from.

    With a graph that is the same in all cycles, the prior is that of the diffusion, which is the
    only audited model.  Otherwise it is that of the model whose accuracy is estimated.
    confidence: mean over the unlabeled images; left_out: as `_count_left_out_right`; both None
    without such a graph."""

    prior: AccuracyPrior
    models: Sequence[AuditedModel]
    shift: AccuracyShift
    confidence: float | None = None
    left_out: tuple[int, int] | None = None

    def find_posterior(self) -> Posterior:
        if self.confidence is None:
            return find_posterior(self.prior, self.models, self.shift)
        (diffusion,) = self.models
        return find_posterior_beside(self.prior, diffusion, self.shift)


def make_estimates(
    options: OptionValues,
    state: State,
    active: ActivePool,
    outputs: NetworkOutputs,
    num_classes: int,
) -> list[dict[str, Any]]:
    """The rows of estimates.csv of the current cycle; none if no image is left to be labeled.

    Without a graph that is the same in all cycles there are none before an audit has answers.

    active: the images that training takes into account; the estimate is about those of them.
    outputs: of the trained network."""
    audits = [
        Audit(audit.cycle, active.find_rows(audit.audited), active.find_rows(audit.chosen_since))
        for audit in list_audits(options, state)
    ]
    is_static = has_static_graph(options)
    if not is_static and not any(audit.cycle for audit in audits):
        return []
    predictions = active.select(dict(enumerate(state.predictions)))
    state = replace(state, pool=active.pool, predictions=tuple(predictions.values()))
    unlabeled = state.pool.labels < 0
    if not unlabeled.any():
        return []
    probs = as_numpy(active.select(outputs.get_tensors(("probs",)))["probs"])
    known = state.pool.labels[state.pool.labeled_order]
    counts = len(known), len(np.unique(known)), num_classes
    budget = options.of(BudgetOptions).al_budget
    propagated = _propagate(options, state, active, outputs, is_static, num_classes, audits)
    answers = {NETWORK_MODEL: probs.argmax(axis=1)}
    if propagated is not None:
        answers[PROPAGATION_MODEL] = propagated.labels
    if propagated is None or not is_static:
        earlier = {name: _earlier_networks(state, audits, a) for name, a in answers.items()}
        return [
            _make_row(state, name, Evidence(WITHOUT_GRAPH, models, SHIFT_EARLIER), budget)
            for name, models in earlier.items()
            if models
        ]
    confidence = float(confidence_at_temperature(propagated.diffusion.scores[unlabeled]).mean())
    left_out = _count_left_out_right(state, audits, propagated)
    prior = accuracy_prior(PROPAGATION, confidence, *counts, left_out)
    rows = []
    for name in (NETWORK_MODEL, PROPAGATION_MODEL):
        models = [_make_left_out_model(state, audits, propagated, answers[name])]
        evidence = Evidence(prior, models, SHIFT, confidence, left_out)
        rows.append(_make_row(state, name, evidence, budget))
    return rows


def _count_left_out_right(
    state: State, audits: Sequence[Audit], propagated: Propagated
) -> tuple[int, int]:
    """How many left-out answers are right, and of how many images that were not audited; audited
    ones count as a sample, and must not count twice."""
    right = propagated.diffusion.left_out == state.pool.labels[propagated.left_out]
    is_chosen = ~np.isin(propagated.left_out, all_audited(audits))
    return int(right[is_chosen].sum()), int(is_chosen.sum())


def _propagate(
    options: OptionValues,
    state: State,
    active: ActivePool,
    outputs: NetworkOutputs,
    is_static: bool,
    num_classes: int,
    audits: Sequence[Audit],
) -> Propagated | None:
    """The propagation with labels left out; None if the run's algorithm has none.

    is_static: whether the graph is the same in all cycles.  Otherwise no label is left out: the
    graph has been trained on them, and still knows them."""
    algorithm = ALGORITHMS[semisup.algorithm_name(options)]
    if algorithm.leave_one_out is None:
        return None
    needs = component_needs(options, algorithm)
    shared = images_of_shared_classes(state.pool, num_classes)
    images = choose_left_out(shared, audits) if is_static else np.empty(0, np.int64)
    diffusion, labels = algorithm.leave_one_out(
        pool=state.pool,
        num_classes=num_classes,
        images=images,
        **active.select(outputs.get_tensors(needs)),
        **kwargs_for(options, algorithm.leave_one_out),
    )
    return Propagated(diffusion, labels, images)


def results_columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns of results.csv: the network's estimate, empty where there is none."""
    for row in rows:
        if row["model"] == NETWORK_MODEL:
            values = (row["accuracy"], row["low"], row["high"])
            return dict(zip(ESTIMATE_COLUMNS, values, strict=True))
    return dict.fromkeys(ESTIMATE_COLUMNS)


def images_of_shared_classes(pool: Pool, num_classes: int) -> np.ndarray:
    """The labeled images (L,) that are not the only one of their class.

    Without its only label a class is missing, so that the left-out answer is wrong."""
    labels = pool.labels[pool.labeled_order]
    members = np.bincount(labels, minlength=num_classes)
    return pool.labeled_order[members[labels] > 1]


def class_coverage(pool: Pool, audits: Sequence[Audit], num_classes: int) -> float:
    """The share of the unlabeled images whose class has a label.

    The larger of two estimates: the share of the classes, exact for equal classes that all exist,
    and one minus the share of audited images that are the only one of their class (Good, Biometrika
    40, 1953), which knows rare classes and classes without images."""
    labels = pool.labels[pool.labeled_order]
    members = np.bincount(labels, minlength=num_classes)
    drawn = pool.labels[all_audited(audits)]
    seen_again = float((members[drawn] > 1).mean()) if len(drawn) else 0.0
    return max(float((members > 0).mean()), seen_again)


def choose_left_out(labeled: np.ndarray, audits: Sequence[Audit]) -> np.ndarray:
    """The labeled images that are left out: up to MAX_LEFT_OUT, audited ones first.

    labeled: (L,), as from `images_of_shared_classes` -> (M,)."""
    audited = all_audited(audits)
    audited = audited[np.isin(audited, labeled)]
    others = labeled[~np.isin(labeled, audited)]
    audited = _evenly_spaced(audited, MAX_LEFT_OUT)
    return np.concatenate([audited, _evenly_spaced(others, MAX_LEFT_OUT - len(audited))])


def all_audited(audits: Sequence[Audit]) -> np.ndarray:
    """The images of all audits: (n,) int64."""
    return np.concatenate([np.empty(0, np.int64), *(audit.audited for audit in audits)])


def _evenly_spaced(images: np.ndarray, count: int) -> np.ndarray:
    if len(images) <= count:
        return images
    return images[np.linspace(0, len(images) - 1, count).round().astype(int)]


def _make_left_out_model(
    state: State, audits: Sequence[Audit], propagated: Propagated, answers: np.ndarray
) -> AuditedModel:
    """What the diffusion says about the audited images without their labels.

    answers: (N,) of the model whose accuracy is estimated."""
    left_out = np.full(len(answers), -1)
    left_out[propagated.left_out] = propagated.diffusion.left_out
    has_answer = np.zeros(len(answers), dtype=bool)
    has_answer[propagated.left_out] = True
    batches = [_make_batch(state, audit, left_out, has_answer) for audit in audits]
    return AuditedModel(
        batches,
        _disagreement(state, propagated.diffusion.labels, answers),
        class_coverage(state.pool, audits, propagated.diffusion.scores.shape[1]),
    )


def _earlier_networks(
    state: State, audits: Sequence[Audit], answers: np.ndarray
) -> list[AuditedModel]:
    """What the network of the cycle before said about the images of each audit.

    answers: (N,) of the model whose accuracy is estimated."""
    return [
        AuditedModel(
            [_make_batch(state, audit, before, np.ones(len(before), dtype=bool))],
            _disagreement(state, before, answers),
        )
        for audit in audits
        if audit.cycle and (before := state.predictions[audit.cycle - 1]) is not None
    ]


def _make_batch(
    state: State, audit: Audit, answers: np.ndarray, has_answer: np.ndarray
) -> AuditedBatch:
    """answers: (N,) classes; has_answer: (N,) bool."""
    audited = audit.audited[has_answer[audit.audited]]
    chosen = audit.chosen_since[has_answer[audit.chosen_since]]
    labels = state.pool.labels
    unlabeled = int((labels < 0).sum())
    return AuditedBatch(
        int((answers[audited] == labels[audited]).sum()),
        len(audited),
        unlabeled / (unlabeled + len(audit.chosen_since)),
        float((answers[chosen] == labels[chosen]).mean()) if len(chosen) else 0.0,
    )


def _disagreement(state: State, one: np.ndarray, other: np.ndarray) -> float:
    """The share of the unlabeled images that two models give different classes: (N,), (N,)."""
    unlabeled = state.pool.labels < 0
    return float((one != other)[unlabeled].mean())


def _make_row(state: State, name: str, evidence: Evidence, budget: int) -> dict[str, Any]:
    """A row of estimates.csv; shares in percent, gains in percentage points.

    budget: of the next cycle."""
    labels, unlabeled = len(state.pool.labeled_order), int((state.pool.labels < 0).sum())
    posterior = evidence.find_posterior()
    estimate = estimate_accuracy(posterior, unlabeled)
    gain = estimate_gain(posterior, ERROR_REDUCTIONS, np.log2(1 + budget / labels))
    batches = [batch for model in evidence.models for batch in model.batches]
    row: dict[str, Any] = dict.fromkeys(ESTIMATES_COLUMNS) | {"cycle": state.cycle, "model": name}
    row |= {field: f"{100 * share:.2f}" for field, share in estimate._asdict().items()}
    values = (f"{100 * share:.2f}" for share in gain)
    row |= dict(zip(("gain", "gain_low", "gain_high"), values, strict=True))
    row["audited"] = sum(batch.total for batch in batches)
    row["audited_right"] = sum(batch.correct for batch in batches)
    if evidence.left_out is not None:
        row["left_out_right"], row["left_out"] = evidence.left_out
    if evidence.confidence is not None:
        row["confidence"] = f"{100 * evidence.confidence:.2f}"
    if evidence.models:
        row["disagreement"] = f"{100 * evidence.models[-1].disagreement:.2f}"
    return row
