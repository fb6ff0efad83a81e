"""Which class masses? Rules that choose between none and equal ones without a true label.

python scripts/studies/balance_rules.py DIR OUT.csv [--seeds N] [--only WORD]
python scripts/studies/balance_rules.py DIR OUT.csv --summary

DIR is that of scripts/studies/choice_rivals.py.  The labels of each data set and seed are one or
five per class, as many at random, or those that lp_coverage chooses; the data as they are, and with
classes thinned to 10 : 1 (in random order, sizes in geometric progression, at least three rows).
The graph has --lp-k auto or 50 neighbours.  OUT.csv gets one row per such setting and balance: the
accuracy of the propagated labels in percent, and by what the rules would choose.  Seeds that it
already has are kept.

--summary prints, per rule, how far the accuracy falls short of the better of none and uniform,
averaged over the seeds: mean, worst, and share of settings within half a point.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.special

from scripts.studies.choice_rivals import Case, choose, read_case
from scripts.studies.row_file import (
    keys_of_rows,
    open_rows,
    read_rows,
    select_sources,
    study_parser,
)
from semisup.label_propagation import Propagation, class_association, propagate
from utils.console import print_line
from utils.graph import affinity

RATIO = 10  # of the largest and the smallest class
MIN_ROWS = 3  # that are left of a class
BALANCES = ("none", "uniform", "labels")
NUM_NEIGHBORS = ("auto", 50)
RULES = ("association", "modularity", "within", "certainty", "information", "agreement")
KEYS = ("data", "features", "seed", "ratio", "labels", "k", "balance")
COLUMNS = (*KEYS, "accuracy", *RULES)


def thin_classes(case: Case) -> Case:
    """The rows that are left where the classes are 10 : 1."""
    rng, count = np.random.default_rng(case.seed), case.classes
    largest, kept = int(np.bincount(case.labels).max()), []
    for rank, c in enumerate(rng.permutation(count)):
        size = max(round(largest / RATIO ** (rank / (count - 1))), MIN_ROWS)
        kept.append(rng.permutation(np.flatnonzero(case.labels == c))[:size])
    rows = np.sort(np.concatenate(kept))
    views = [np.ascontiguousarray(view[rows]) for view in case.views]
    return case._replace(views=views, labels=case.labels[rows])


def label_sets(case: Case) -> dict[str, np.ndarray]:
    """Name and rows of every way to label."""
    rng = np.random.default_rng(case.seed)
    members = [np.flatnonzero(case.labels == c) for c in np.unique(case.labels)]
    order = rng.permutation(len(case.labels))
    return {
        "one per class": np.array([rng.choice(own) for own in members]),
        "five per class": np.concatenate([rng.permutation(own)[:5] for own in members]),
        "random": order[: case.classes],
        "five times as many, random": order[: 5 * case.classes],
        "lp_coverage": choose("lp_coverage", case),
    }


def judge(W: Any, result: Propagation, num_classes: int) -> dict[str, float]:
    """What each rule says about a propagation; the larger, the better.  W: (N, N) scipy CSR"""
    shares = result.scores[result.scores.any(axis=1)].astype(np.float64)
    certainty = -scipy.special.entr(shares).sum(axis=1).mean()
    reached = np.flatnonzero(result.labels >= 0)
    members = np.zeros((len(result.labels), num_classes))
    members[reached, result.labels[reached]] = 1
    total = W.sum()
    within = (members * (W @ members)).sum() / total
    ends = members.T @ np.asarray(W.sum(axis=1)).ravel() / total
    return {
        "association": class_association(W, result.labels, num_classes),
        "modularity": within - np.square(ends).sum(),
        "within": within,
        "certainty": certainty,
        "information": scipy.special.entr(shares.mean(axis=0)).sum() + certainty,
        "agreement": (result.scores * (W @ result.scores)).sum() / total,
    }


def rows_of(case: Case) -> Iterator[list[Any]]:
    """The rows of OUT.csv for one seed, without data set and seed."""
    for ratio, part in ((1, case), (RATIO, thin_classes(case))):
        if len(np.unique(part.labels)) < 2:
            continue
        label_rows = label_sets(part)
        for k in NUM_NEIGHBORS:
            if isinstance(k, int) and len(part.labels) <= k:
                continue
            graph: dict[str, Any] = {"k": k, "weights": part.weights}
            W = affinity(part.views, **graph)
            for name, picks in label_rows.items():
                known = np.full(len(part.labels), -1)
                known[picks] = part.labels[picks]
                rest = known < 0
                for balance in BALANCES:
                    found = propagate(part.views, known, case.classes, balance=balance, **graph)
                    right = 100 * (found.labels == part.labels)[rest].mean()
                    scores = judge(W, found, case.classes)
                    cells = (f"{scores[rule]:.6g}" for rule in RULES)
                    yield [ratio, name, k, balance, f"{right:.2f}", *cells]


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, seeds=4)
    arguments = parser.parse_args(argv)
    if arguments.summary:
        print_summary(arguments.out, arguments.only)
        return 0
    done = keys_of_rows(arguments.out, COLUMNS[:3])
    with open_rows(arguments.out, COLUMNS) as append_rows:
        for (data, features), paths in select_sources(arguments.folder, arguments.only).items():
            for seed in range(arguments.seeds):
                key = (data, features, str(seed))
                if key in done:
                    continue
                case = read_case(features, paths[seed % len(paths)], seed)
                append_rows([[*key, *row] for row in rows_of(case)])
            print_line(f"{data} {features}: done")
    return 0


def print_summary(path: Path, only: str) -> None:
    """One table per number of neighbours."""
    for k, by_rule in shortfalls(path, only).items():
        count = len(by_rule["none"])
        print_line(f"\n| rule, k {k} | mean | worst | within 0.5 points of {count} |")
        print_line("| --- | --- | --- | --- |")
        for rule, losses in by_rule.items():
            share = np.mean(np.array(losses) <= 0.5)
            print_line(f"| {rule} | {np.mean(losses):.2f} | {max(losses):.1f} | {share:.0%} |")


def shortfalls(path: Path, only: str) -> dict[str, dict[str, list[float]]]:
    """k -> balance or rule -> how far it falls short in each setting, in points."""
    settings: dict[str, dict[tuple[str, ...], dict[str, dict[str, dict[str, float]]]]] = {}
    for row in read_rows(path):
        if re.search(only, f"{row['data']} {row['features']}"):
            key = (row["data"], row["features"], row["ratio"], row["labels"])
            seeds = settings.setdefault(row["k"], {}).setdefault(key, {})
            numbers = {name: float(row[name]) for name in ("accuracy", *RULES)}
            seeds.setdefault(row["seed"], {})[row["balance"]] = numbers
    rules = (*BALANCES, *RULES)
    return {
        k: {rule: [shortfall([*own.values()], rule) for own in found.values()] for rule in rules}
        for k, found in settings.items()
    }


def shortfall(seeds: list[dict[str, dict[str, float]]], rule: str) -> float:
    """Points that a rule, or a fixed balance, falls short of the better of none and uniform."""
    choices = BALANCES[:2]
    best = max(np.mean([balances[choice]["accuracy"] for balances in seeds]) for choice in choices)
    own = []
    for balances in seeds:
        scores = {choice: balances[choice].get(rule, 0) for choice in choices}
        chosen = rule if rule in balances else max(choices, key=scores.__getitem__)
        own.append(balances[chosen]["accuracy"])
    return float(best - np.mean(own))


if __name__ == "__main__":
    sys.exit(main())
