"""Fits semisup.accuracy_prior, and the tables of docs/estimate.md, from rows of estimate_coverage.

The prior is a regression with Student's t errors: every data set weighs the same, whatever its
number of rows.  Tables of the KEEL repository are the only data that are fitted; a table is
reported with the prior that was fitted without it.
"""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from semisup import accuracy_prior
from semisup.accuracy_posterior import (
    DEGREES_OF_FREEDOM,
    AccuracyEstimate,
    AccuracyShift,
    AuditedBatch,
    AuditedModel,
    Posterior,
    estimate_accuracy,
    estimate_gain,
    find_posterior,
    find_posterior_beside,
)
from semisup.accuracy_prior import TEMPERATURE, PriorWeights
from utils.console import print_line

TEMPERATURES = (0.2, 0.3, 0.5, 1.0)  # of the column confidence
NUM_REDUCTIONS = 20
MIN_DISAGREEMENT = 0.03  # below it, the difference of two accuracies says little about η
Row = dict[str, Any]


class Priors(NamedTuple):
    """Everything that is fitted."""

    propagation: PriorWeights
    shift: AccuracyShift
    shift_earlier: AccuracyShift
    error_reductions: tuple[float, ...]


SHIPPED = Priors(
    accuracy_prior.PROPAGATION,
    accuracy_prior.SHIFT,
    accuracy_prior.SHIFT_EARLIER,
    accuracy_prior.ERROR_REDUCTIONS,
)


def read_rows(path: Path) -> list[Row]:
    numbers = {"seed", "budget", "cycle", "classes", "labels", "present", "unlabeled", "left_out",
               "left_out_right"}  # fmt: skip
    shares = {"network", "propagation"}
    with path.open(newline="") as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        row |= {name: int(row[name]) for name in numbers if row[name]}
        row |= {name: float(row[name]) for name in shares if row[name]}
        for name in ("confidence", "network_models", "propagation_models"):
            row[name] = json.loads(row[name]) if row[name] else None
    return rows


def prior_inputs(row: Row, temperature: float = TEMPERATURE) -> tuple[Any, ...]:
    """The arguments of accuracy_prior after the weights."""
    counts = row["labels"], row["present"], row["classes"]
    confidence = row["confidence"][TEMPERATURES.index(temperature)]
    return confidence, *counts, count_left_out_right(row)


def count_left_out_right(row: Row) -> tuple[int, int]:
    """How many left-out answers are right, and of how many, without those of audited images."""
    batches = row["propagation_models"][0][0]
    audited_right, audited = (sum(batch[i] for batch in batches) for i in (0, 1))
    return row["left_out_right"] - audited_right, row["left_out"] - audited


def posterior(row: Row, model: str, priors: Priors, with_audit: bool = True) -> Posterior:
    """As experiment.estimates finds it.  model: network or propagation."""
    is_alone = row["training"] == "supervised"
    models = [
        AuditedModel([AuditedBatch(*batch) for batch in batches], *others)
        for batches, *others in row[f"{model}_models"]
    ]
    shift = priors.shift_earlier if is_alone else priors.shift
    if is_alone:
        prior = accuracy_prior.WITHOUT_GRAPH
        return find_posterior(prior, models if with_audit else [], shift)
    prior = accuracy_prior.accuracy_prior(priors.propagation, *prior_inputs(row))
    (diffusion,) = models
    if not with_audit:
        diffusion = diffusion._replace(batches=[])
    return find_posterior_beside(prior, diffusion, shift)


def fit_all(rows: Iterable[Row]) -> Priors:
    """The priors for these rows."""
    rows = list(rows)
    lp = [row for row in rows if row["training"] == "lp"]
    alone = [row for row in rows if row["training"] == "supervised"]
    return Priors(
        fit_weights(lp, "propagation"),
        fit_shift(_differences_to_diffusion(lp)),
        fit_shift(_differences_to_earlier(alone)),
        fit_reductions(lp),
    )


def fit_weights(rows: list[Row], model: str, temperature: float = TEMPERATURE) -> PriorWeights:
    """Maximum likelihood of the prior's β and γ."""
    inputs = np.array([regression_inputs(row, temperature) for row in rows])
    per_class = inputs[:, 3]
    truth = np.array([row[model] for row in rows])
    smallest = 0.5 / np.array([row["unlabeled"] for row in rows])
    target = scipy.special.logit(np.clip(truth, smallest, 1 - smallest))
    weights = _dataset_weights(rows)

    def loss(values: np.ndarray) -> float:
        beta, gamma = values[:4], values[4:]
        scale = np.exp(gamma[0] + gamma[1] * per_class)
        log_density = scipy.stats.t.logpdf(target, DEGREES_OF_FREEDOM, inputs @ beta, scale)
        return float(-weights @ log_density)

    found = scipy.optimize.minimize(loss, [0, 1, 0, 0, 0, 0], method="L-BFGS-B").x
    return PriorWeights(*np.round(found, 2).tolist())


def regression_inputs(row: Row, temperature: float) -> list[float]:
    """What β is multiplied with; accuracy_prior is linear in β, and gives one after the other."""
    known = row.setdefault("regression_inputs", {})
    if temperature not in known:
        units = [PriorWeights(*unit) for unit in np.eye(len(PriorWeights._fields))[:4]]
        arguments = prior_inputs(row, temperature)
        known[temperature] = [accuracy_prior.accuracy_prior(u, *arguments).center for u in units]
    return known[temperature]


def _dataset_weights(rows: list[Row]) -> np.ndarray:
    names, places, counts = np.unique(
        [row["data"] for row in rows], return_inverse=True, return_counts=True
    )
    weights = 1 / counts[places] / len(names)
    return weights / weights.sum()


def _differences_to_diffusion(rows: list[Row]) -> list[tuple[Row, float]]:
    """(row, η) of the network against the diffusion."""
    pairs = [(row, row["network_models"][0][1]) for row in rows]
    return [
        (row, (row["network"] - row["propagation"]) / disagreement)
        for row, disagreement in pairs
        if disagreement >= MIN_DISAGREEMENT
    ]


def _differences_to_earlier(rows: list[Row]) -> list[tuple[Row, float]]:
    """(row, η) of the network against those of the cycles before."""
    runs: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in rows:
        runs.setdefault(_run_key(row), {})[row["cycle"]] = row
    found = []
    for cycles in runs.values():
        for cycle, row in cycles.items():
            for earlier, (_, disagreement, _) in enumerate(row["network_models"]):
                if disagreement >= MIN_DISAGREEMENT and earlier < cycle:
                    difference = row["network"] - cycles[earlier]["network"]
                    found.append((row, difference / disagreement))
    return found


def fit_shift(pairs: list[tuple[Row, float]]) -> AccuracyShift:
    values = np.clip([value for _, value in pairs], -1, 1)
    weights = _dataset_weights([row for row, _ in pairs])
    mean = float(weights @ values)
    return AccuracyShift(round(mean, 2), round(float((weights @ (values - mean) ** 2) ** 0.5), 2))


def fit_reductions(rows: list[Row]) -> tuple[float, ...]:
    """Quantiles of the share of the network's error that goes when the labels double."""
    found: list[tuple[Row, float]] = []
    for row, after in next_rows(rows):
        errors = [max(1 - r["network"], 0.5 / r["unlabeled"]) for r in (row, after)]
        doublings = np.log2(after["labels"] / row["labels"])
        found.append((row, float(1 - (errors[1] / errors[0]) ** (1 / doublings))))
    weights = _dataset_weights([row for row, _ in found])
    values = np.clip([value for _, value in found], -1, 1)
    order = np.argsort(values)
    shares = (np.arange(NUM_REDUCTIONS) + 0.5) / NUM_REDUCTIONS
    quantiles = np.interp(shares, np.cumsum(weights[order]), values[order])
    return tuple(np.round(quantiles, 2).tolist())


def next_rows(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Each row with that of the next cycle of its run."""
    by_key = {(_run_key(row), row["cycle"]): row for row in rows}
    return [
        (row, by_key[key, cycle + 1])
        for (key, cycle), row in by_key.items()
        if (key, cycle + 1) in by_key
    ]


def _run_key(row: Row) -> tuple[Any, ...]:
    return tuple(row[k] for k in ("data", "features", "seed", "method", "budget", "training"))


def fit_priors(path: Path) -> None:
    """Print what semisup.accuracy_prior holds, and the temperature of the best fit."""
    rows = [row for row in read_rows(path) if row["features"] == "table"]
    for name, value in fit_all(rows)._asdict().items():
        print_line(f"{name}: {value}")
    lp = [row for row in rows if row["training"] == "lp"]
    for temperature in TEMPERATURES:
        weights = fit_weights(lp, "propagation", temperature)
        print_line(f"temperature {temperature}: {weights}")


def data_group(row: Row) -> str:
    """The row of the coverage table that a data set belongs to."""
    if row["features"] == "table":
        return "16 tables"
    return {"digits-simclr": "digits", "photos": "photographs"}.get(
        row["data"], "MNIST-5k" if row["data"].startswith("mnist5k") else "Fashion-5k"
    )


def priors_by_table(rows: list[Row]) -> dict[str, Priors]:
    """Table -> the priors that were fitted without it."""
    tables = [row for row in rows if row["features"] == "table"]
    names = sorted({row["data"] for row in tables})
    return {name: fit_all(row for row in tables if row["data"] != name) for name in names}


class Check(NamedTuple):
    """An estimate beside the truth."""

    row: Row
    model: str
    truth: float
    found: AccuracyEstimate
    audited: int

    @property
    def is_inside(self) -> bool:
        return self.found.low <= self.truth <= self.found.high


def check_rows(rows: list[Row], by_table: dict[str, Priors], with_audit: bool) -> list[Check]:
    checks = []
    for row in rows:
        priors = by_table.get(row["data"], SHIPPED)
        for model in ("network", "propagation"):
            if row[f"{model}_models"] is None:
                continue
            if row["training"] == "supervised" and not (with_audit and count_audited(row, model)):
                continue  # no estimate, as in experiment.estimates
            found = estimate_accuracy(posterior(row, model, priors, with_audit), row["unlabeled"])
            audited = count_audited(row, model) if with_audit else 0
            checks.append(Check(row, model, row[model], found, audited))
    return checks


def count_audited(row: Row, model: str) -> int:
    """How many answers for audited images there are."""
    return sum(batch[1] for batches, *_ in row[f"{model}_models"] for batch in batches)


def coverage_line(name: str, checks: list[Check]) -> str:
    runs = len({_run_key(check.row) for check in checks})
    inside = np.mean([check.is_inside for check in checks])
    width = 100 * np.median([check.found.high - check.found.low for check in checks])
    error = 100 * np.median([abs(check.found.accuracy - check.truth) for check in checks])
    return f"| {name} | {runs} | {len(checks)} | {inside:.1%} | {width:.1f} | {error:.1f} |"


def print_tables(path: Path) -> None:
    """The tables of docs/estimate.md."""
    rows = read_rows(path)
    by_table = priors_by_table(rows)
    checks = check_rows(rows, by_table, with_audit=True)
    kinds: list[tuple[str, Callable[[Check], str]]] = [
        ("data", lambda check: data_group(check.row)),
        ("labels", lambda check: f"{check.row['method']}, {check.row['training']}"),
        ("model", lambda check: f"{check.model}, {check.row['training']}"),
        ("audited images", lambda check: audit_band(check.audited)),
        ("number of labels", lambda check: label_band(check.row["labels"])),
    ]
    for title, key in kinds:
        print_line(f"\n| {title} | runs | estimates | coverage | width | error |")
        print_line("| --- | --- | --- | --- | --- | --- |")
        for name in sorted({key(check) for check in checks}):
            print_line(coverage_line(name, [c for c in checks if key(c) == name]))
        print_line(coverage_line("all", checks))
    print_test_sets(checks)
    print_bias(rows)
    print_gains(rows, by_table)


def print_test_sets(checks: list[Check]) -> None:
    """The intervals beside those of a random test set with as many images as were audited."""
    print_line("\n| audited images | estimates | width | width of a test set of this size |")
    print_line("| --- | --- | --- | --- |")
    audited = [check for check in checks if check.audited]
    for name in sorted({audit_band(check.audited) for check in audited}):
        part = [check for check in audited if audit_band(check.audited) == name]
        widths = [100 * (check.found.high - check.found.low) for check in part]
        others = [100 * wilson_width(check.truth, check.audited) for check in part]
        print_line(f"| {name} | {len(part)} | {np.median(widths):.1f} | {np.median(others):.1f} |")


def wilson_width(share: float, count: int) -> float:
    """Of the 95 % interval of Wilson for this share of `count` random images."""
    interval = scipy.stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(interval.high - interval.low)


def print_bias(rows: list[Row]) -> None:
    """Leave-one-out and confidences alone, less the accuracy of the propagation."""
    print_line("\n| labels | number | rows | leave-one-out | confidence |")
    print_line("| --- | --- | --- | --- | --- |")
    lp = [row for row in rows if row["training"] == "lp"]
    for method in sorted({row["method"] for row in lp}):
        for band in sorted({label_band(row["labels"]) for row in lp}):
            part = [
                row for row in lp if (row["method"], label_band(row["labels"])) == (method, band)
            ]
            left_out = [
                100 * (row["left_out_right"] / row["left_out"] - row["propagation"])
                for row in part
                if row["left_out"]
            ]
            confidence = [100 * (prior_inputs(row)[0] - row["propagation"]) for row in part]
            cells = (f"{np.mean(v):+.1f} ± {np.std(v):.1f}" for v in (left_out, confidence))
            print_line(f"| {method} | {band} | {len(part)} | {' | '.join(cells)} |")


def print_gains(rows: list[Row], by_table: dict[str, Priors]) -> None:
    """How often the band of the expected gain contains the gain of the next cycle."""
    inside, errors, gains = [], [], []
    for row, after in next_rows(row for row in rows if row["training"] == "lp"):
        priors = by_table.get(row["data"], SHIPPED)
        doublings = float(np.log2(after["labels"] / row["labels"]))
        found = estimate_gain(posterior(row, "network", priors), priors.error_reductions, doublings)
        truth = after["network"] - row["network"]
        inside.append(found.low <= truth <= found.high)
        errors.append(found.gain - truth)
        gains.append(truth)
    print_line(
        f"\nGain of the next budget: {len(inside)} estimates, coverage {np.mean(inside):.1%}, mean "
        f"gain {100 * np.mean(gains):.2f}, mean error {100 * np.mean(errors):+.2f}, "
        f"median absolute error {100 * np.median(np.abs(errors)):.2f} points"
    )


def audit_band(audited: int) -> str:
    for low, high in ((0, 0), (1, 9), (10, 29), (30, 99)):
        if low <= audited <= high:
            return "none" if not high else f"{low} to {high}"
    return "100 or more"


def label_band(labels: int) -> str:
    for low, high in ((10, 29), (30, 99), (100, 199), (200, 500)):
        if low <= labels <= high:
            return f"{low} to {high}"
    return "more"
