"""How often the estimate contains the truth where no graph is the same in all cycles.

python scripts/studies/estimate_of_runs.py TABLES SWEEP.yaml
python sweep.py SWEEP.yaml --out RUNS
python scripts/studies/estimate_of_runs.py RUNS --summary

The runs are of main_al.py: on digits with label propagation on the network's own features, with
CEAL, and on labels alone; and with a network of one hidden layer on the tables that
scripts/studies/tables_as_features.py writes to TABLES.  All five cycles have an audit of a fifth of
the queries, or random queries, which all count as audited.

--summary compares the estimate of the network with its accuracy on the unlabeled images, which it
computes from the predictions that a run keeps, in the cycles between the first, which has no
estimate, and the last, whose predictions are not kept.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from data.state import from_dict
from experiment import setup
from experiment.result_tables import NETWORK_MODEL
from experiment.saved_network import load_finished_run
from reports.runs import read_runs_below
from scripts.studies.row_file import read_rows
from utils.console import print_line

AUDITED = ("al_method: [margin, uncertainty_entropy], audit: 4", "al_method: random")
SWEEP = f"""\
options: {{al_budget: 20, initial_size: 20, al_nb_cycles: 5, device: cpu}}
runs:
  - {{dataset: digits, split: 0-4, add_lp: true, {AUDITED[0]}}}
  - {{dataset: digits, split: 0-4, add_lp: true, {AUDITED[1]}}}
  - {{dataset: digits, split: 0-4, add_ceal: true, {AUDITED[0]}}}
  - {{dataset: digits, split: 0-4, {AUDITED[0]}}}
"""


class Estimate(NamedTuple):
    """In percent."""

    truth: float
    accuracy: float
    low: float
    high: float


def read_estimates(folder: Path) -> Iterator[Estimate]:
    """Of the network in every cycle whose predictions the run has kept."""
    run = load_finished_run(folder, "cpu")
    dataset, _ = setup.open_dataset(run.options)
    state = from_dict(run.checkpoint["state"])
    labels = dataset.oracle.labels
    is_labeled = np.zeros(len(labels), dtype=bool)
    rows = {int(r["cycle"]): r for r in read_rows(folder / "estimates.csv") if is_network(r)}
    for cycle, predicted in enumerate(state.predictions):
        is_labeled[state.history[cycle].queried] = True
        if cycle in rows and predicted is not None:
            truth = 100 * float((predicted == labels)[~is_labeled].mean())
            values = (float(rows[cycle][name]) for name in Estimate._fields[1:])
            yield Estimate(truth, *values)


def is_network(row: dict[str, str]) -> bool:
    return row["model"] == NETWORK_MODEL


def print_summary(folder: Path) -> None:
    groups: dict[str, list[list[Estimate]]] = {}
    for run in read_runs_below(folder)[0]:
        groups.setdefault(title_of(run.config), []).append(list(read_estimates(run.folder)))
    print_line("| runs | number | estimates | coverage | width | error |")
    print_line("| --- | --- | --- | --- | --- | --- |")
    everything = [run for runs in groups.values() for run in runs]
    for name, runs in (*sorted(groups.items()), ("all", everything)):
        found = [estimate for run in runs for estimate in run]
        inside = np.mean([e.low <= e.truth <= e.high for e in found])
        width = np.median([e.high - e.low for e in found])
        error = np.median([abs(e.accuracy - e.truth) for e in found])
        numbers = (str(len(runs)), str(len(found)), f"{inside:.1%}", f"{width:.1f}", f"{error:.1f}")
        print_line(f"| {name} | {' | '.join(numbers)} |")


def title_of(config: dict[str, Any]) -> str:
    data = "tables" if config["dataset"] == "features" else config["dataset"]
    trained_on = "CEAL" if config["add_ceal"] else "label propagation" if config["add_lp"] else ""
    queries = "random queries" if config["al_method"] == "random" else "audit"
    return f"{data}, {trained_on or 'labels alone'}, {queries}"


def write_sweep(tables: Path, path: Path) -> None:
    text = SWEEP
    for table in sorted(tables.glob("*-0.npz")):
        data = f"data_root: {json.dumps(str(table.absolute()))}, exp_name: {table.stem}"
        training = "dataset: features, arch: mlp, add_lp: true, epochs: 30"
        text += "".join(f"  - {{{training}, {data}, {audited}}}\n" for audited in AUDITED)
    path.write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the tables, or of the runs")
    parser.add_argument("sweep", type=Path, nargs="?", help="file to write")
    parser.add_argument("--summary", action="store_true", help="print what the runs gave")
    arguments: Any = parser.parse_args(argv)
    if arguments.summary:
        print_summary(arguments.folder)
    elif arguments.sweep:
        write_sweep(arguments.folder, arguments.sweep)
    else:
        parser.error("name the file of the sweep to write, or give --summary")
    return 0


if __name__ == "__main__":
    sys.exit(main())
