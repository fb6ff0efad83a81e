"""Choose as many labels as classes in many ways, propagate them, and write one row per choice.

python scripts/studies/choice_rivals.py DIR OUT.csv [--seeds N] [--only WORD] [--peer PYTHON]
python scripts/studies/choice_rivals.py DIR OUT.csv --summary

DIR holds features: DIR/tables of scripts/studies/tables_as_features.py, simclr/<data>-<seed>.npz of
scripts/studies/simclr_as_features.py, and folders <data>.features of embed.py.  Each seed takes a
random 90 % of the training rows (of a table at most 2,000), the next division of a table and the
next SimCLR network.  All methods of a seed see the same rows.  Rows that OUT.csv already has are
kept, so a stopped run resumes.

With --peer, the interpreter of an environment with graphlearning==1.7.5, its model change is
compared as well.  It starts with the first image of the blind draw and is told the label of each
pick before it makes the next.

accuracy: share of the other rows whose propagated label is right, in percent, with equal class
masses; accuracy_none: without.  covered: number of classes among the picks.
--summary prints, per data set and method, mean ± standard deviation over the seeds, the share of
seeds that miss a class, and the mean of lp_coverage minus the method on the same seed with its 95 %
confidence interval (t).
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.sparse
import scipy.stats
import torch

from al_methods import select
from data.feature_scale import fit_feature_scale
from scripts.studies import rival_choices
from scripts.studies.peer import Peer, edge_weights
from scripts.studies.row_file import (
    keys_of_rows,
    open_rows,
    read_rows,
    select_sources,
    study_parser,
)
from semisup.label_propagation import propagate
from utils.console import print_line
from utils.graph import affinity, degrees_of

SHARE = 0.9  # of the training rows, per seed
MAX_TABLE_ROWS = 2000
COLUMNS = ("data", "features", "seed", "method", "rows", "classes", "covered", "accuracy",
           "accuracy_none", "seconds")  # fmt: skip
MODEL_CHANGE = Path(__file__).with_name("graphlearning_choices.py")
PROJECT_METHODS = ("lp_coverage", "maxherding", "typiclust", "probcover", "coreset")


class Case(NamedTuple):
    """The rows of one seed."""

    views: list[np.ndarray]  # of the graph; the first are the features
    weights: list[float] | None  # of the views
    labels: np.ndarray  # (N,)
    seed: int

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


def read_case(features: str, path: Path, seed: int) -> Case:
    """The rows of one seed of a file or folder."""
    weights = None
    if features == "simclr":
        arrays = np.load(path)
        views = [arrays["pretrained_features"], arrays["pixels"]]
        names = ("pretrained_features_agreement", "pixels_agreement")
        weights, labels = [float(arrays[name]) for name in names], arrays["labels"]
    else:
        source: Any = np.load(path) if path.is_file() else None
        read = source.__getitem__ if source else lambda name: np.load(path / f"{name}.npy")
        rows = torch.as_tensor(read("features"), dtype=torch.float32)
        views, labels = [fit_feature_scale(rows, str(path)).apply(rows).numpy()], read("labels")
    count = int(SHARE * len(labels))
    if features == "table":
        count = min(count, MAX_TABLE_ROWS)
    kept = np.sort(np.random.default_rng(1000 + seed).permutation(len(labels))[:count])
    return Case([np.ascontiguousarray(view[kept]) for view in views], weights, labels[kept], seed)


def choices(
    case: Case, model_change: Callable[[Case], np.ndarray] | None
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Name and function of every method."""
    x, count, seed = case.views[0], case.classes, case.seed
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    members = [np.flatnonzero(case.labels == c) for c in range(count)]
    members = [own for own in members if len(own)]
    yield "balanced random", lambda: np.array([rng(seed).choice(own) for own in members])
    yield "blind random", lambda: rng(seed).permutation(len(x))[:count]
    for name in PROJECT_METHODS:
        yield name, partial(choose, name, case)
    yield "usl", lambda: rival_choices.usl(unit, count, seed)
    yield "rdss", lambda: rival_choices.rdss(unit, count, seed)
    for name in ("v", "sigma"):
        yield f"{name}-opt", partial(optimal_design, case, name)
    yield "greedy cover", lambda: greedy_cover(case)
    if model_change:
        yield "model change", partial(model_change, case)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def optimal_design(case: Case, criterion: str) -> np.ndarray:
    """V- or Σ-optimality in the graph of the features."""
    W = affinity(case.views[0], k="auto")
    return rival_choices.optimal_design(W, case.classes, criterion)


class ModelChange:
    """GraphLearning's model change, in its own environment: the picks for a case.

    python: the interpreter."""

    def __init__(self, python: str):
        self._folder = tempfile.TemporaryDirectory()
        self._peer = Peer(python, MODEL_CHANGE, self._folder.name)

    def __call__(self, case: Case) -> np.ndarray:
        folder = Path(self._folder.name)
        W: Any = affinity(case.views[0], k="auto")
        scipy.sparse.save_npz(folder / "graph.npz", edge_weights(W, degrees_of(W)))
        np.save(folder / "labels.npy", case.labels)
        first = rng(case.seed).permutation(len(case.labels))[0]
        return np.array(json.loads(self._peer.ask(f"{case.classes} {first}")))

    def __enter__(self) -> "ModelChange":
        return self

    def __exit__(self, *error: object) -> None:
        self._peer.__exit__(*error)
        self._folder.cleanup()


def choose(method: str, case: Case) -> np.ndarray:
    """The picks of a method of the project, as of the first cycle of a run."""
    x = case.views[0]
    options: dict[str, Any] = {"k": "auto"} if method == "lp_coverage" else {}
    if method == "lp_coverage" and case.weights:
        options |= {"views": "features,pixels", "view_weights": "agreement"}
        options |= {"pixels": case.views[1]}
        options |= dict(zip(("features_agreement", "pixels_agreement"), case.weights, strict=True))
    return select(
        method,
        features=x,
        pretrained_features=x,
        labels=np.full(len(x), -1),
        budget=case.classes,
        rng=rng(case.seed),
        num_classes=case.classes,
        **options,
    )


def greedy_cover(case: Case) -> np.ndarray:
    """lp_coverage as it was: greedy in the graph of all views, without merging."""
    W: Any = affinity(case.views, k="auto", weights=case.weights)
    kernel = torch.eye(W.shape[0]).sub_(torch.as_tensor(W.toarray()), alpha=0.99)
    kernel = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    scale = kernel.diagonal().rsqrt()
    kernel.mul_(scale).mul_(scale[:, None])
    cover = torch.zeros(len(kernel))
    picks: list[int] = []
    for _ in range(case.classes):
        gains = (kernel - cover).clamp_(min=0).sum(dim=1)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        cover = torch.maximum(cover, kernel[picks[-1]])
    return np.array(picks)


def accuracy(case: Case, picks: np.ndarray, balance: str) -> float:
    """Percent of the rows that were not picked whose propagated label is right."""
    known = np.full(len(case.labels), -1)
    known[picks] = case.labels[picks]
    views = [torch.as_tensor(view) for view in case.views]
    found = propagate(views, known, case.classes, balance=balance, k="auto", weights=case.weights)
    rest = known < 0
    return float((found.labels[rest] == case.labels[rest]).mean() * 100)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, seeds=20)
    parser.add_argument("--peer", help="interpreter of an environment with graphlearning==1.7.5")
    arguments = parser.parse_args(argv)
    if arguments.summary:
        print_summary(arguments.out)
        return 0
    write_rows(arguments)
    return 0


def write_rows(arguments: argparse.Namespace) -> None:
    """Append the rows that OUT.csv lacks."""
    done = keys_of_rows(arguments.out, COLUMNS[:4])
    sources = select_sources(arguments.folder, arguments.only)
    peer: Any = ModelChange(arguments.peer) if arguments.peer else nullcontext()
    with open_rows(arguments.out, COLUMNS) as append_rows, peer as model_change:
        for (data, features), paths in sources.items():
            for seed in range(arguments.seeds):
                case = read_case(features, paths[seed % len(paths)], seed)
                for method, function in choices(case, model_change):
                    key = (data, features, str(seed), method)
                    if key in done:
                        continue
                    start = time.perf_counter()
                    picks = function()
                    seconds = time.perf_counter() - start
                    covered = len(set(case.labels[picks].tolist()))
                    scores = [f"{accuracy(case, picks, b):.2f}" for b in ("uniform", "none")]
                    size = (len(case.labels), case.classes, covered)
                    append_rows([[*key, *size, *scores, f"{seconds:.2f}"]])
            print_line(f"{data} {features}: done")


def print_summary(path: Path) -> None:
    """The tables of docs/rivals.md."""
    table: dict[str, dict[str, dict[str, tuple[float, bool]]]] = {}
    for row in read_rows(path):
        scores = table.setdefault(f"{row['data']}, {row['features']}", {})
        missed = row["covered"] != row["classes"]
        scores.setdefault(row["method"], {})[row["seed"]] = float(row["accuracy"]), missed
    for data, methods in table.items():
        print_line(f"\n| {data} | accuracy | misses a class | lp_coverage minus it |")
        print_line("| --- | --- | --- | --- |")
        ours = methods.get("lp_coverage", {})
        for method, seeds in methods.items():
            values, missed = np.array(list(seeds.values())).T
            difference = "" if method == "lp_coverage" else format_difference(ours, seeds)
            spread = values.std(ddof=1) if len(values) > 1 else 0
            cells = f"{values.mean():.1f} ± {spread:.1f} | {missed.mean():.0%} | {difference}"
            print_line(f"| {method} (n {len(values)}) | {cells} |")


def format_difference(
    ours: dict[str, tuple[float, bool]], other: dict[str, tuple[float, bool]]
) -> str:
    """Mean of ours minus the other on the seeds of both, with its 95 % interval."""
    seeds = sorted(set(ours) & set(other))
    differences = np.array([ours[seed][0] - other[seed][0] for seed in seeds])
    if len(differences) < 2:
        return ""
    error = differences.std(ddof=1) / len(differences) ** 0.5
    half = scipy.stats.t.ppf(0.975, len(differences) - 1) * error
    mean = differences.mean()
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


if __name__ == "__main__":
    sys.exit(main())
