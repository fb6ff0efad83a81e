"""When to stop: --stop-when and the criteria of small-text, by what labels and errors cost.

python scripts/studies/stopping_rules.py DIR OUT.csv --peer PYTHON [--only WORD] [--seeds N]
python scripts/studies/stopping_rules.py DIR OUT.csv --summary

DIR and the runs are those of scripts/studies/estimate_coverage.py.  A run has CYCLES cycles, each a
row of OUT.csv: the accuracy on the unlabeled images, and whether each rule would end the run.

The cost of stopping after a cycle is the number of labels plus, for each unlabeled image with a
wrong class, `ratio` labels (after Pullar-Strecker, Dost, Frank & Wicker, "Hitting the target:
stopping active learning at the cost-based optimum", Machine Learning 2022).  --summary prints the
mean excess over the cheapest cycle of each run, in percent of its cost.

--peer: the Python of an environment with small-text==1.4.1, whose criteria are asked at their
default settings (smalltext_peer.py): KappaAverage (Bloodgood & Vijay-Shanker, CoNLL 2009),
ClassificationChange and OverallUncertainty (Zhu, Wang & Hovy, COLING 2008), DeltaFScore
(Altschuler & Bloodgood, ICSC 2019; for two classes only), and MaxIterations, which has no default.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from data.active_pool import ActivePool
from experiment import estimates
from scripts.studies.estimate_coverage import Case, Cycle, Run, dense_kernel, follow, read_case
from scripts.studies.peer import Peer
from scripts.studies.row_file import keys_of_rows, open_rows, select_sources, study_parser
from utils.console import print_line

SEEDS = 3
CYCLES = 16
BUDGET = 10
MAX_LABELED_SHARE = 0.6
RATIOS = (0.3, 1.0, 3.0)
MAX_ITERATIONS = (5, 10)
METHODS = ("lp_coverage", "margin + audit")
RUN_COLUMNS = ("data", "features", "seed", "method", "cycle")
CRITERIA = ("KappaAverage", "DeltaFScore", "ClassificationChange", "OverallUncertainty")
COLUMNS = (*RUN_COLUMNS, "budget", "labels", "unlabeled", "accuracy", "gain", "low",
           *CRITERIA)  # fmt: skip
PEER_SCRIPT = Path(__file__).with_name("smalltext_peer.py")

Rows = list[dict[str, Any]]


def follow_run(case: Case, run: Run, peer: Peer) -> Rows:
    """One row per cycle, without the columns of the data."""
    rows: Rows = []
    probs, unlabeled = [], []
    for cycle in follow(case, run, CYCLES):
        rows.append(make_row(case, run, cycle))
        probs.append(cycle.probs)
        unlabeled.append(cycle.state.pool.labels < 0)
        labeled = rows[-1]["labels"] + run.budget
        if labeled > MAX_LABELED_SHARE * len(case.truth):
            break
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, probs=probs, unlabeled=unlabeled)
        answer = json.loads(peer.ask(file.name))
    for number, row in enumerate(rows):  # DeltaFScore has no answer for more than two classes
        row |= {name: int(answer[name][number]) if name in answer else "" for name in CRITERIA}
    return rows


def make_row(case: Case, run: Run, cycle: Cycle) -> dict[str, Any]:
    """What --stop-when sees after a cycle, and the accuracy, which it does not see."""
    state, options, outputs, probs = cycle
    everything = ActivePool(state.pool, None, len(state.pool.labels))
    with dense_kernel(case):
        rows = estimates.make_estimates(options, state, everything, outputs, case.classes)
    found = rows[0]
    unlabeled = state.pool.labels < 0
    row: dict[str, Any] = {"seed": run.seed, "method": run.method, "cycle": state.cycle}
    row |= {"budget": run.budget, "labels": int((~unlabeled).sum())}
    row["unlabeled"] = int(unlabeled.sum())
    row["accuracy"] = round(float((probs.argmax(axis=1) == case.truth)[unlabeled].mean()), 5)
    return row | {"gain": found["gain"], "low": found["low"]}


def first_cycle(rows: Rows, holds: Callable[[int], bool]) -> int:
    """The first cycle after which a rule holds, or the last one."""
    return next((cycle for cycle in range(len(rows)) if holds(cycle)), len(rows) - 1)


def stops(rows: Rows, ratio: float) -> dict[str, int]:
    """The cycle after which each rule that can judge this run ends it.

    ratio: of the costs, which --stop-when gain:X is set to: the next budget costs as much as X
    percent of the unlabeled images with a wrong class."""
    budget, unlabeled = rows[0]["budget"], rows[0]["unlabeled"]
    limit = min(100 * budget / (ratio * unlabeled), 99)
    rules: dict[str, Callable[[int], bool]] = {
        "--stop-when gain:X, X of the costs": lambda c: rows[c]["gain"] < limit,
        "--stop-when gain:1": lambda c: rows[c]["gain"] < 1,
        "--stop-when accuracy:90": lambda c: rows[c]["low"] >= 90,
    }
    for name in CRITERIA:
        if not np.isnan(rows[0][name]):
            rules[name] = partial(_says_stop, rows, name)
    stopped = {name: first_cycle(rows, rule) for name, rule in rules.items()}
    iterations = {f"MaxIterations({n})": min(n, len(rows)) - 1 for n in MAX_ITERATIONS}
    return stopped | iterations


def _says_stop(rows: Rows, name: str, cycle: int) -> bool:
    return bool(rows[cycle][name] == 1)


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
    print_table("two classes", [rows for rows in runs if not np.isnan(rows[0]["DeltaFScore"])])


def print_table(title: str, runs: list[Rows]) -> None:
    """Mean excess of the cost in percent, and the median number of labels, per rule."""
    print_line(f"\n{title}: {len(runs)} runs of up to {CYCLES} cycles")
    print_line("\n| rule | " + " | ".join(f"ratio {ratio:g}" for ratio in RATIOS) + " |")
    print_line("| --- |" + " --- |" * len(RATIOS))
    names = {name: None for rows in runs for name in stops(rows, 1.0)}
    for name in names:
        judged = [rows for rows in runs if name in stops(rows, 1.0)]
        cells = []
        for ratio in RATIOS:
            excess, labels = [], []
            for rows in judged:
                cost, cycle = costs(rows, ratio), stops(rows, ratio)[name]
                excess.append(100 * (cost[cycle] / cost.min() - 1))
                labels.append(rows[cycle]["labels"])
            cells.append(f"{np.mean(excess):.0f} ({np.median(labels):.0f})")
        some = f" (only {len(judged)} runs)" if len(judged) < len(runs) else ""
        print_line(f"| {name}{some} | {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, seeds=SEEDS)
    parser.add_argument("--peer", help="interpreter of an environment with small-text==1.4.1")
    arguments = parser.parse_args(argv)
    if arguments.summary:
        print_summary(arguments.out)
    elif not arguments.peer:
        parser.error("--peer is missing: name the Python of an environment with small-text")
    else:
        with Peer(arguments.peer, PEER_SCRIPT) as peer:
            write_rows(arguments, peer)
    return 0


def write_rows(arguments: argparse.Namespace, peer: Peer) -> None:
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
                run = Run(method, budget, "lp", seed)
                names = {"data": data, "features": features}
                rows = [row | names for row in follow_run(case, run, peer)]
                with open_rows(arguments.out, COLUMNS) as append_rows:
                    append_rows([[row[name] for name in COLUMNS] for row in rows])
            print_line(f"{data} {features}, seed {seed}: done")


if __name__ == "__main__":
    sys.exit(main())
