"""How often the estimate of the accuracy without a test set contains the truth.

python scripts/studies/estimate_coverage.py DIR OUT.csv [--only WORD] [--seeds N]
python scripts/studies/estimate_coverage.py DIR OUT.csv --fit        prints semisup.accuracy_prior
python scripts/studies/estimate_coverage.py DIR OUT.csv --summary    prints tables of docs/estimate

DIR is as in scripts/studies/choice_rivals.py.  Each run is one of main_al.py on features, with
label propagation or without, and each of its cycles a row of OUT.csv: what the estimate is made
from, and the accuracies on the unlabeled images, for which the study alone looks at hidden labels.
Estimates are made again from these rows, so that a change of semisup.accuracy_posterior or
semisup.accuracy_prior needs no new run.  Rows that OUT.csv already has are kept.
"""

import argparse
import csv
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

import main_al
from experiment import estimates
from scripts.studies.choice_rivals import find_sources
from semisup.accuracy_prior import sharpened_confidence
from utils.console import print_line

MAX_ROWS = 1500  # of the training images, per seed
MIN_POOL_SHARE = 2  # images per label of the last cycle, at least
CYCLES = 5
TEMPERATURES = (0.2, 0.3, 0.5, 1.0)
SHORT = ["--epochs", 5, "--steps-per-epoch", 20]
RUN_COLUMNS = ("data", "features", "seed", "method", "budget", "training", "cycle")
COLUMNS = (*RUN_COLUMNS, "classes", "labels", "present", "unlabeled", "network", "propagation",
           "confidence", "network_confidence", "left_out", "left_out_right", "network_models",
           "propagation_models")  # fmt: skip
# name: --initial, --al-method, and the share of the budget that is audited
METHODS = {
    "random": ("random", "random", 0.0),
    "lp_coverage": ("lp_coverage", "lp_coverage", 0.0),
    "lp_coverage + audit": ("lp_coverage", "lp_coverage", 0.2),
    "margin + audit": ("lp_coverage", "margin", 0.2),
}


class Run(NamedTuple):
    """One run of main_al.py."""

    data: str
    features: str
    path: Path
    seed: int
    method: str
    budget: int
    training: str

    @property
    def key(self) -> tuple[str, ...]:
        values = (self.data, self.features, self.seed, self.method, self.budget, self.training)
        return tuple(map(str, values))


def list_runs(folder: Path, seeds: int) -> Iterator[Run]:
    for seed in range(seeds):
        for (data, features), paths in find_sources(folder).items():
            path = paths[seed % len(paths)]
            rows, classes = count_rows(path)
            for budget in (max(10, classes), 100):
                if MIN_POOL_SHARE * CYCLES * budget > rows:
                    continue
                for method in METHODS:
                    yield Run(data, features, path, seed, method, budget, "lp")
                yield Run(data, features, path, seed, "margin + audit", budget, "supervised")


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of the training part."""
    if path.is_dir():
        return np.load(path / "features.npy"), np.load(path / "labels.npy")
    arrays = np.load(path)
    name = "pretrained_features" if "pretrained_features" in arrays else "features"
    return arrays[name], arrays["labels"]


def count_rows(path: Path) -> tuple[int, int]:
    """The number of rows that a run has, and of classes."""
    _, labels = read_arrays(path)
    return min(len(labels), MAX_ROWS), len(np.unique(labels))


def execute(run: Run, folder: Path) -> list[dict[str, Any]]:
    """The rows of one run."""
    x, y = read_arrays(run.path)
    order = np.random.default_rng(run.seed).permutation(len(y))[:MAX_ROWS]
    held_out = order[:1] if len(order) == len(y) else np.setdiff1d(np.arange(len(y)), order)[:50]
    data = folder / "data.npz"
    arrays: dict[str, Any] = {"features": x[order], "labels": y[order]}
    np.savez(data, **arrays, test_features=x[held_out], test_labels=y[held_out])
    initial, method, share = METHODS[run.method]
    audit = round(share * run.budget)
    words = ["--dataset", "features", "--data-root", data, "--arch", "linear", "--seed", run.seed]
    words += ["--initial", initial, "--al-method", method, "--al-budget", run.budget]
    words += ["--al-nb-cycles", CYCLES, "--run-dir", folder / "run", *SHORT]
    words += ["--audit", audit] if audit else []
    if run.training == "lp":
        words += ["--add-lp", "--lp-step", SHORT[1], "--lp-k", "auto", "--lp-balance", "uniform"]
    if "lp_coverage" in (initial, method) and run.training != "lp":
        words += ["--lp-k", "auto"]
    rows: list[dict[str, Any]] = []
    recorder = recording(rows, run, y[order])
    with mock.patch("experiment.experiment.make_estimates", recorder):
        if main_al.main([str(word) for word in words]):
            raise RuntimeError(f"the run failed: {run}")
    return rows


def recording(rows: list[dict[str, Any]], run: Run, truth: np.ndarray) -> Any:
    """experiment.estimates.make_estimates, which also adds a row with the truth."""
    original = estimates.make_estimates

    def make_estimates(options: Any, state: Any, outputs: Any, *others: Any) -> Any:
        seen: dict[str, Any] = {}
        real_propagate = estimates._propagate
        real_estimate = estimates.estimate_accuracy

        def propagate(*arguments: Any) -> Any:
            seen["propagated"] = real_propagate(*arguments)
            return seen["propagated"]

        def estimate(prior: Any, models: Any, shift: Any) -> Any:
            seen.setdefault("models", []).append(models)
            return real_estimate(prior, models, shift)

        with (
            mock.patch.object(estimates, "_propagate", propagate),
            mock.patch.object(estimates, "estimate_accuracy", estimate),
        ):
            result = original(options, state, outputs, *others)
        rows.append(make_row(run, state, outputs, seen, truth))
        return result

    return make_estimates


def make_row(
    run: Run, state: Any, outputs: Any, seen: dict[str, Any], truth: np.ndarray
) -> dict[str, Any]:
    """A row of OUT.csv; shares are from 0 to 1."""
    labels = state.pool.labels
    unlabeled = labels < 0
    probs = outputs.get_tensors(("probs",))["probs"].numpy()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= dict(zip(RUN_COLUMNS, (*run.key, state.cycle), strict=True))
    row["classes"], row["labels"] = int(truth.max()) + 1, int((labels >= 0).sum())
    row["present"], row["unlabeled"] = len(np.unique(labels[~unlabeled])), int(unlabeled.sum())
    row["network"] = accuracy(probs.argmax(axis=1), truth, unlabeled)
    row["network_confidence"] = round(float(probs[unlabeled].max(axis=1).mean()), 5)
    row["network_models"] = to_json(seen["models"][0])
    propagated = seen["propagated"]
    if propagated is not None:
        row["propagation"] = accuracy(propagated.labels, truth, unlabeled)
        row["propagation_models"] = to_json(seen["models"][1])
        scores = propagated.diffusion.scores[unlabeled]
        shares = [float(sharpened_confidence(scores, t).mean()) for t in TEMPERATURES]
        row["confidence"] = json.dumps([round(share, 5) for share in shares])
        row["left_out"] = len(propagated.left_out)
        right = propagated.diffusion.left_out == labels[propagated.left_out]
        row["left_out_right"] = int(right.sum())
    return row


def accuracy(answers: np.ndarray, truth: np.ndarray, unlabeled: np.ndarray) -> float:
    return round(float((answers == truth)[unlabeled].mean()), 5)


def to_json(models: Any) -> str:
    return json.dumps(
        [
            [round(model.disagreement, 5), [[*b[:2], *np.round(b[2:], 5)] for b in model.batches]]
            for model in models
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="seeds per data set (default: 2)")
    parser.add_argument("--only", default="", help="runs whose words match it")
    arguments = parser.parse_args(argv)
    write_rows(arguments)
    return 0


def write_rows(arguments: argparse.Namespace) -> None:
    """Append the rows of the runs that OUT.csv lacks."""
    done = set()
    if arguments.out.exists():
        with arguments.out.open(newline="") as file:
            done = {tuple(row[name] for name in RUN_COLUMNS[:-1]) for row in csv.DictReader(file)}
    else:
        arguments.out.write_text(",".join(COLUMNS) + "\n")
    for run in list_runs(arguments.folder, arguments.seeds):
        if run.key in done or not re.search(arguments.only, " ".join(run.key)):
            continue
        with tempfile.TemporaryDirectory() as name:
            rows = execute(run, Path(name))
        with arguments.out.open("a", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writerows(rows)
        print_line(f"{' '.join(run.key)}: done")


if __name__ == "__main__":
    sys.exit(main())
