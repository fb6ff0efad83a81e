"""When to stop: --stop-when and the criteria of small-text, by what labels and errors cost.

python scripts/studies/stopping_rules.py DIR OUT.csv [--only WORD] [--seeds N]
python scripts/studies/stopping_rules.py DIR OUT.csv --summary

DIR and the runs are those of scripts/studies/estimate_coverage.py.  A run has CYCLES cycles, each a
row of OUT.csv: the accuracy on the unlabeled images, and whether each rule would end the run.

The cost of stopping after a cycle is the number of labels plus, for each unlabeled image with a
wrong class, `ratio` labels (after Pullar-Strecker, Dost, Frank & Wicker, "Hitting the target:
stopping active learning at the cost-based optimum", Machine Learning 2022).  --summary prints the
mean excess over the cheapest cycle of each run, in percent of its cost.

The criteria are those of small-text 2.0 with their default settings: KappaAverage (Bloodgood &
Vijay-Shanker, CoNLL 2009), ClassificationChange and OverallUncertainty (Zhu, Wang & Hovy, COLING
2008), and MaxIterations.  DeltaFScore (Altschuler & Bloodgood, ICSC 2019) is for two classes; with
more, the micro-averaged F-score is the accuracy, whose change is the share of changed predictions.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.special
from sklearn.metrics import cohen_kappa_score

from data.active_pool import ActivePool
from experiment import estimates
from scripts.studies.estimate_coverage import Case, Cycle, Run, dense_kernel, follow, read_case
from scripts.studies.row_file import keys_of_rows, open_rows, select_sources, study_parser
from utils.console import print_line

CYCLES = 16
BUDGET = 10
MAX_LABELED_SHARE = 0.6
RATIOS = (0.3, 1.0, 3.0)
WINDOW = 3  # of KappaAverage and DeltaFScore
MAX_ITERATIONS = (5, 10)
METHODS = ("lp_coverage", "margin + audit")
RUN_COLUMNS = ("data", "features", "seed", "method", "cycle")
COLUMNS = (*RUN_COLUMNS, "budget", "labels", "unlabeled", "accuracy", "gain", "low", "kappa",
           "changed", "entropy")  # fmt: skip

Rows = list[dict[str, Any]]


def follow_run(case: Case, run: Run) -> Rows:
    """One row per cycle, without the columns of the data."""
    rows: Rows = []
    before = None
    for cycle in follow(case, run, CYCLES):
        rows.append(make_row(case, run, cycle, before))
        before = cycle.probs.argmax(axis=1)
        labeled = rows[-1]["labels"] + run.budget
        if labeled > MAX_LABELED_SHARE * len(case.truth):
            break
    return rows


def make_row(case: Case, run: Run, cycle: Cycle, before: np.ndarray | None) -> dict[str, Any]:
    """before: predictions of the cycle before, (N,)."""
    state, options, outputs, probs = cycle
    everything, static = ActivePool(state.pool, None, len(state.pool.labels)), ("features",)
    with dense_kernel(case):
        rows = estimates.make_estimates(options, state, everything, outputs, static, case.classes)
    found = rows[0]
    unlabeled = state.pool.labels < 0
    predicted = probs.argmax(axis=1)
    entropies = scipy.special.entr(probs[unlabeled]).sum(axis=1) / np.log(case.classes)
    row: dict[str, Any] = {"seed": run.seed, "method": run.method, "cycle": state.cycle}
    row |= {"budget": run.budget, "labels": int((~unlabeled).sum())}
    row["unlabeled"] = int(unlabeled.sum())
    row["accuracy"] = round(float((predicted == case.truth)[unlabeled].mean()), 5)
    row |= {"gain": found["gain"], "low": found["low"], "entropy": round(entropies.mean(), 4)}
    row |= {"kappa": "", "changed": ""}
    if before is not None:
        row["kappa"] = round(cohen_kappa_score(predicted, before), 5)
        row["changed"] = round(float((predicted != before).mean()), 5)
    return row


def first_cycle(rows: Rows, holds: Callable[[int], bool]) -> int:
    """The first cycle after which a rule holds, or the last one."""
    return next((cycle for cycle in range(len(rows)) if holds(cycle)), len(rows) - 1)


def stops(rows: Rows, ratio: float) -> dict[str, int]:
    """The cycle after which each rule ends the run.

    ratio: of the costs, which --stop-when gain:X is set to: the next budget costs as much as X
    percent of the unlabeled images with a wrong class."""
    budget, unlabeled = rows[0]["budget"], rows[0]["unlabeled"]
    limit = min(100 * budget / (ratio * unlabeled), 99)
    changes = [row["changed"] for row in rows]
    kappas = [row["kappa"] for row in rows]

    def kappa_is_steady(cycle: int) -> bool:
        window = kappas[cycle - WINDOW + 1 : cycle + 1]
        return cycle >= WINDOW and float(np.abs(np.diff(window)).mean()) < 0.01

    def few_changes(cycle: int) -> bool:
        return cycle >= WINDOW and max(changes[cycle - WINDOW + 1 : cycle + 1]) < 0.05

    rules: dict[str, Callable[[int], bool]] = {
        "--stop-when gain:X, X of the costs": lambda c: rows[c]["gain"] < limit,
        "--stop-when gain:1": lambda c: rows[c]["gain"] < 1,
        "--stop-when accuracy:90": lambda c: rows[c]["low"] >= 90,
        "KappaAverage": kappa_is_steady,
        "DeltaFScore": few_changes,
        "ClassificationChange": lambda c: c > 0 and changes[c] == 0,
        "OverallUncertainty": lambda c: rows[c]["entropy"] < 0.05,
    }
    stopped = {name: first_cycle(rows, rule) for name, rule in rules.items()}
    iterations = {f"MaxIterations({n})": min(n, len(rows)) - 1 for n in MAX_ITERATIONS}
    return stopped | iterations


def costs(rows: Rows, ratio: float) -> np.ndarray:
    """Of stopping after each cycle, in labels."""
    return np.array(
        [row["labels"] + ratio * row["unlabeled"] * (1 - row["accuracy"]) for row in rows]
    )


def read_runs(path: Path) -> list[Rows]:
    runs: dict[tuple[str, ...], Rows] = {}
    texts = RUN_COLUMNS[:-1]
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values: dict[str, Any] = {
                name: text if name in texts else (float(text) if text else np.nan)
                for name, text in row.items()
            }
            runs.setdefault(tuple(row[name] for name in texts), []).append(values)
    return list(runs.values())


def print_summary(path: Path) -> None:
    """The tables of docs/estimate.md."""
    runs = read_runs(path)
    print_table("all", runs)
    print_table("without tables", [rows for rows in runs if rows[0]["features"] != "table"])


def print_table(title: str, runs: list[Rows]) -> None:
    """Mean excess of the cost in percent, and the median number of labels, per rule."""
    print_line(f"\n{title}: {len(runs)} runs of up to {CYCLES} cycles")
    print_line("\n| rule | " + " | ".join(f"ratio {ratio:g}" for ratio in RATIOS) + " |")
    print_line("| --- |" + " --- |" * len(RATIOS))
    for name in stops(runs[0], 1.0):
        cells = []
        for ratio in RATIOS:
            excess, labels = [], []
            for rows in runs:
                cost, cycle = costs(rows, ratio), stops(rows, ratio)[name]
                excess.append(100 * (cost[cycle] / cost.min() - 1))
                labels.append(rows[cycle]["labels"])
            cells.append(f"{np.mean(excess):.0f} ({np.median(labels):.0f})")
        print_line(f"| {name} | {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = study_parser(__doc__, seeds=1).parse_args(argv)
    if arguments.summary:
        print_summary(arguments.out)
    else:
        write_rows(arguments)
    return 0


def write_rows(arguments: argparse.Namespace) -> None:
    """Append the rows of the runs that OUT.csv lacks."""
    done = keys_of_rows(arguments.out, RUN_COLUMNS[:-1])
    sources = select_sources(arguments.folder, arguments.only)
    for seed in range(arguments.seeds):
        for (data, features), paths in sources.items():
            if all((data, features, str(seed), method) in done for method in METHODS):
                continue
            case = read_case(paths[seed % len(paths)], seed)
            for method in METHODS:
                if (data, features, str(seed), method) in done:
                    continue
                budget = max(BUDGET, case.classes)
                run = follow_run(case, Run(method, budget, "lp", seed))
                rows = [row | {"data": data, "features": features} for row in run]
                with open_rows(arguments.out, COLUMNS) as append_rows:
                    append_rows([[row[name] for name in COLUMNS] for row in rows])
            print_line(f"{data} {features}, seed {seed}: done")


if __name__ == "__main__":
    sys.exit(main())
