"""How often the estimate of the accuracy without a test set contains the truth.

python scripts/studies/estimate_coverage.py DIR OUT.csv [--only WORD] [--seeds N]
python scripts/studies/estimate_coverage.py DIR OUT.csv --fit        prints semisup.accuracy_prior
python scripts/studies/estimate_coverage.py DIR OUT.csv --summary    prints tables of docs/estimate

DIR is as in scripts/studies/choice_rivals.py.  A run selects labels over CYCLES cycles, propagates
them, and trains a linear network (logistic regression on up to 64 principal components) on the
propagated labels, or on the labels alone.  The estimate is that of experiment.estimates, which sees
the state of a run and the outputs of its network.  All runs of a seed see the same rows, whose
kernel K is inverted once: that is why a run takes a second instead of a minute.

A cycle is a row of OUT.csv: what the estimate is made from, and the accuracies on the unlabeled
images, for which the study alone looks at hidden labels.  --fit and --summary make the estimates
again from these rows.  Rows that OUT.csv already has are kept.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from al_methods import select
from data.active_pool import ActivePool
from data.state import State
from experiment import estimates
from experiment.config import SCHEMA
from labeling.audit import draw_audit
from scripts.studies.estimate_tables import fit_priors, print_tables
from scripts.studies.row_file import keys_of_rows, open_rows, select_sources, study_parser
from semisup.accuracy_prior import confidence_at_temperature
from utils.console import print_line
from utils.graph import affinity
from utils.options.option import OptionValues
from utils.options.schema import fill_defaults

MAX_ROWS = 1000  # of the training images, per seed
MIN_IMAGES_PER_LABEL = 2  # of the last cycle
CYCLES = 5
BUDGETS = (10, 30, 100)
ALPHA = 0.99
TEMPERATURES = (0.2, 0.3, 0.5, 1.0)
MAX_COMPONENTS = 64
RUN_COLUMNS = ("data", "features", "seed", "method", "budget", "training")
COLUMNS = (*RUN_COLUMNS, "cycle", "classes", "labels", "present", "unlabeled", "network",
           "propagation", "confidence", "network_confidence", "left_out", "left_out_right",
           "network_models", "propagation_models")  # fmt: skip
# name: the method of the first labels, that of the others, and the share that is audited
METHODS = {
    "random": ("random", "random", 0.0),
    "lp_coverage": ("lp_coverage", "lp_coverage", 0.0),
    "lp_coverage + audit": ("lp_coverage", "lp_coverage", 0.2),
    "margin + audit": ("lp_coverage", "margin", 0.2),
}


class Case(NamedTuple):
    """The rows of one seed: inputs of the network (N, d), classes (N,), and K (N, N).

    first_picks: of lp_coverage, by their number, as found so far."""

    features: torch.Tensor
    components: np.ndarray
    truth: np.ndarray
    kernel: np.ndarray
    first_picks: dict[int, np.ndarray]

    @property
    def classes(self) -> int:
        return int(self.truth.max()) + 1


class Run(NamedTuple):
    method: str
    budget: int
    training: str
    seed: int


def read_case(path: Path, seed: int) -> Case:
    """The rows of one seed of a file or folder (scripts.studies.choice_rivals)."""
    source: Any = np.load(path) if path.is_file() else None
    read = source.__getitem__ if source else lambda name: np.load(path / f"{name}.npy")
    names = source.files if source else ()
    x = read("pretrained_features" if "pretrained_features" in names else "features")
    y = read("labels")
    kept = np.random.default_rng(seed).permutation(len(y))[:MAX_ROWS]
    features = torch.as_tensor(x[kept] - x[kept].mean(axis=0), dtype=torch.float32)
    W: Any = affinity(features, k="auto")
    kernel = np.linalg.inv(np.eye(len(kept)) - ALPHA * W.toarray().astype(np.float64))
    scaled = features.numpy() / features.numpy().std()
    count = min(MAX_COMPONENTS, *scaled.shape)
    components = PCA(count, random_state=0).fit_transform(scaled)
    return Case(features, components, y[kept], np.maximum(kernel, 0), {})


def list_runs(case: Case, seed: int) -> Iterator[Run]:
    for budget in sorted({max(budget, case.classes) for budget in BUDGETS}):
        if MIN_IMAGES_PER_LABEL * CYCLES * budget > len(case.truth):
            continue
        for method in METHODS:
            yield Run(method, budget, "lp", seed)
        yield Run("margin + audit", budget, "supervised", seed)


class Cycle(NamedTuple):
    """A trained cycle, as experiment.estimates sees it, and the probabilities (N, C)."""

    state: State
    options: OptionValues
    outputs: Any
    probs: np.ndarray


def execute(case: Case, run: Run) -> list[dict[str, Any]]:
    """One row per cycle, without the columns of the data."""
    return [make_row(case, run, cycle) for cycle in follow(case, run, CYCLES)]


def follow(case: Case, run: Run, cycles: int) -> Iterator[Cycle]:
    """The cycles of a run, one after the other."""
    initial, method, share = METHODS[run.method]
    options = fill_defaults(
        SCHEMA,
        {
            "dataset": "features",
            "arch": "linear",
            "add_lp": run.training == "lp",
            "lp_k": "auto",
            "lp_alpha": ALPHA,
            "initial": initial,
            "al_method": method,
            "al_budget": run.budget,
            "audit": round(share * run.budget),
        },
    )
    rng = np.random.default_rng(1000 + run.seed)
    everything = np.arange(len(case.truth))
    first = choose(case, initial, np.full(len(everything), -1), run.budget, rng)
    state = State.initial(first, len(everything))
    for cycle in range(cycles):
        state = state.reveal_labels(case.truth[state.queried])
        probs, scores = train(case, state.pool.labels, run.training)
        outputs = SimpleNamespace(
            get_tensors=lambda names, probs=probs: {
                name: torch.as_tensor(probs) if name == "probs" else case.features for name in names
            }
        )
        yield Cycle(state, options, outputs, probs)
        if cycle + 1 == cycles:
            break
        labels = state.pool.labels
        audit = draw_audit(options, labels, everything, rng)
        taken = labels.copy()
        taken[audit] = -2
        picks = choose(case, method, taken, run.budget - len(audit), rng, scores)
        state = state.next_cycle(np.concatenate([audit, picks]), {})
        state = state.add_predictions(probs.argmax(axis=1))


def choose(
    case: Case,
    method: str,
    labels: np.ndarray,
    budget: int,
    rng: np.random.Generator,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """The picks of a method among the images whose label is -1."""
    unlabeled = np.flatnonzero(labels == -1)
    if method == "random":
        return rng.choice(unlabeled, budget, replace=False)
    if method == "margin":
        assert scores is not None
        second, largest = np.partition(scores[unlabeled], -2, axis=1)[:, -2:].T
        return unlabeled[np.argsort(largest - second, kind="stable")[:budget]]
    if not (labels >= 0).any():
        if budget not in case.first_picks:
            settings: dict[str, Any] = {"pretrained_features": case.features, "k": "auto"}
            picks = select("lp_coverage", labels=labels, budget=budget, rng=rng, **settings)
            case.first_picks[budget] = picks
        return case.first_picks[budget]
    return cover_greedily(case, labels, budget)


def cover_greedily(case: Case, labels: np.ndarray, budget: int) -> np.ndarray:
    """lp_coverage (al_methods.lp_coverage) from the dense kernel."""
    scale = 1 / np.sqrt(case.kernel.diagonal())
    kernel = (case.kernel * scale * scale[:, None]).astype(np.float32)
    second, largest = np.partition(propagate(case, labels), -2, axis=1)[:, -2:].T
    weights = (0.25 + 0.75 * (1 - (largest - second))).astype(np.float32)
    cover = kernel[labels >= 0].max(axis=0)
    picks: list[int] = []
    for _ in range(budget):
        gains = np.maximum(kernel - cover, 0) @ weights
        gains[labels != -1] = -1
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        cover = np.maximum(cover, kernel[picks[-1]])
    return np.array(picks)


def propagate(case: Case, labels: np.ndarray) -> np.ndarray:
    """The class shares (N, C) of the diffusion."""
    labeled = np.flatnonzero(labels >= 0)
    one_hot = np.eye(case.classes)[labels[labeled]]
    Z = case.kernel[:, labeled] @ (one_hot / np.maximum(one_hot.sum(axis=0), 1))
    mass = Z.sum(axis=1, keepdims=True)
    return np.divide(Z, mass, out=np.zeros_like(Z), where=mass > 0)


def train(case: Case, labels: np.ndarray, training: str) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities (N, C) of a network, and the scores that margin sees."""
    scores = propagate(case, labels)
    targets = np.where(labels >= 0, labels, scores.argmax(axis=1) if training == "lp" else -1)
    used = np.flatnonzero(targets >= 0)
    probs = np.zeros((len(labels), case.classes))
    if len(np.unique(targets[used])) < 2:
        probs[:, targets[used][0]] = 1
        return probs, probs
    model = LogisticRegression(C=10, max_iter=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        model.fit(case.components[used], targets[used])
        probs[:, model.classes_] = model.predict_proba(case.components)
    return probs, scores if training == "lp" else probs


@contextmanager
def dense_kernel(case: Case) -> Iterator[None]:
    """Within the block, the diffusion is that of the case's kernel."""

    def solve(_: Any, labels: np.ndarray, num_classes: int, **others: Any) -> np.ndarray:
        return propagate(case, labels)

    def columns(W: Any, alpha: float, images: np.ndarray) -> np.ndarray:
        return case.kernel[:, images]

    with (
        mock.patch("semisup.leave_one_out.diffusion.solve", solve),
        mock.patch("semisup.leave_one_out._kernel_columns", columns),
    ):
        yield


def make_row(case: Case, run: Run, cycle: Cycle) -> dict[str, Any]:
    """A row of OUT.csv without the columns of the data; shares are from 0 to 1."""
    state, options, outputs, probs = cycle
    parts: dict[str, Any] = {"models": []}
    find_propagated, make_estimate = estimates._propagate, estimates._make_row

    def record_propagation(*arguments: Any) -> Any:
        parts["propagated"] = find_propagated(*arguments)
        return parts["propagated"]

    def record_models(state: Any, name: str, evidence: Any, budget: int) -> Any:
        parts["models"].append(evidence.models)
        return make_estimate(state, name, evidence, budget)

    with (
        dense_kernel(case),
        mock.patch.object(estimates, "_propagate", record_propagation),
        mock.patch.object(estimates, "_make_row", record_models),
    ):
        everything = ActivePool(state.pool, None, len(state.pool.labels))
        estimates.make_estimates(options, state, everything, outputs, case.classes)
    unlabeled = state.pool.labels < 0
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"seed": run.seed, "method": run.method, "budget": run.budget}
    row |= {"training": run.training, "cycle": state.cycle, "classes": case.classes}
    row |= {"labels": int((~unlabeled).sum()), "unlabeled": int(unlabeled.sum())}
    row["present"] = len(np.unique(case.truth[~unlabeled]))
    row["network"] = share_right(probs.argmax(axis=1), case.truth, unlabeled)
    row["network_confidence"] = round(float(probs[unlabeled].max(axis=1).mean()), 5)
    row["network_models"] = to_json(parts["models"][0] if parts["models"] else [])
    if (found := parts.get("propagated")) is not None:
        row["propagation"] = share_right(found.labels, case.truth, unlabeled)
        row["propagation_models"] = to_json(parts["models"][1])
        scores = found.diffusion.scores[unlabeled]
        shares = [float(confidence_at_temperature(scores, t).mean()) for t in TEMPERATURES]
        row["confidence"] = json.dumps([round(share, 5) for share in shares])
        row["left_out"] = len(found.left_out)
        right = found.diffusion.left_out == state.pool.labels[found.left_out]
        row["left_out_right"] = int(right.sum())
    return row


def share_right(answers: np.ndarray, truth: np.ndarray, unlabeled: np.ndarray) -> float:
    return round(float((answers == truth)[unlabeled].mean()), 5)


def to_json(models: Any) -> str:
    """Models as lists of their fields, the batches first."""
    return json.dumps(
        [
            [[[*b[:2], *np.round(b[2:], 4)] for b in batches], *np.round(others, 4)]
            for batches, *others in models
        ],
        separators=(",", ":"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, seeds=5)
    parser.add_argument("--fit", action="store_true", help="fit the prior to the tables")
    arguments = parser.parse_args(argv)
    if arguments.fit:
        fit_priors(arguments.out)
    elif arguments.summary:
        print_tables(arguments.out)
    else:
        write_rows(arguments)
    return 0


def write_rows(arguments: argparse.Namespace) -> None:
    """Append the rows of the runs that OUT.csv lacks."""
    done = keys_of_rows(arguments.out, RUN_COLUMNS)
    sources = select_sources(arguments.folder, arguments.only)
    for seed in range(arguments.seeds):
        for (data, features), paths in sources.items():
            case = read_case(paths[seed % len(paths)], seed)
            for run in list_runs(case, seed):
                values = (data, features, seed, run.method, run.budget, run.training)
                if tuple(map(str, values)) in done:
                    continue
                rows = [row | {"data": data, "features": features} for row in execute(case, run)]
                with open_rows(arguments.out, COLUMNS) as append_rows:
                    append_rows([[row[name] for name in COLUMNS] for row in rows])
            print_line(f"{data} {features}, seed {seed}: done")


if __name__ == "__main__":
    sys.exit(main())
