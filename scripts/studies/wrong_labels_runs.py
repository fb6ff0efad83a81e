"""The runs of scripts/studies/wrong_labels.yaml as rows and as a table.

python scripts/studies/wrong_labels_runs.py RUNS OUT.csv

RUNS holds the run folders.  OUT.csv gets one row per run: top1 is the test accuracy of the last
cycle, changed the number of labels that second looks have changed.  Printed are mean ± standard
deviation over the splits, and the share of the loss that second looks return.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from utils.console import print_line

COLUMNS = ("labels", "network", "label_noise", "second_looks", "split", "changed", "top1")
Key = tuple[int, str, float, int]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args(argv)
    rows = sorted(read_run(path.parent) for path in arguments.runs.rglob("config.json"))
    with arguments.out.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([COLUMNS, *rows])
    print_table(read_rows(arguments.out))
    return 0


def read_rows(path: Path) -> dict[Key, list[float]]:
    """The accuracies in OUT.csv: labels, network, label_noise and second_looks -> one per split."""
    accuracies: dict[Key, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (int(row["labels"]), row["network"], float(row["label_noise"]),
                   int(row["second_looks"]))  # fmt: skip
            accuracies.setdefault(key, []).append(float(row["top1"]))
    return accuracies


def read_run(folder: Path) -> tuple[int, str, float, int, int, int, float]:
    """The values of COLUMNS of a finished run."""
    options = json.loads((folder / "config.json").read_text())
    with (folder / "results.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    changed = 0
    if (folder / "second_looks.csv").exists():
        with (folder / "second_looks.csv").open(newline="") as file:
            changed = sum(r["label_before"] != r["label_after"] for r in csv.DictReader(file))
    return (
        options["initial_size"],
        "with propagation" if options["add_lp"] else "labels alone",
        options["label_noise"],
        options["second_looks"],
        options["split"],
        changed,
        float(last["top1"]),
    )


def print_table(accuracies: dict[Key, list[float]]) -> None:
    """A row per number of labels and way of training."""
    print_line("| labels | network | n | right labels | wrong labels | second looks | returned |")
    print_line("| --- | --- | --- | --- | --- | --- | --- |")
    for labels, network in dict.fromkeys(key[:2] for key in accuracies):
        own = {
            key[2:]: np.array(v) for key, v in accuracies.items() if key[:2] == (labels, network)
        }
        right = next(v for (noise, _), v in own.items() if not noise)
        wrong = next(v for (noise, looks), v in own.items() if noise and not looks)
        again = next(v for (_, looks), v in own.items() if looks)
        cells = [f"{one.mean():.1f} ± {one.std(ddof=1):.1f}" for one in (right, wrong, again)]
        share = (again.mean() - wrong.mean()) / (right.mean() - wrong.mean())
        print_line(
            f"| {labels} | {network} | {len(right)} | " + " | ".join(cells) + f" | {share:.0%} |"
        )


if __name__ == "__main__":
    sys.exit(main())
