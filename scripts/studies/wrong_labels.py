"""Make some labels wrong, look for them, and correct as many as there are; one row per draw.

python scripts/studies/wrong_labels.py DIR OUT.csv --peer PYTHON [--seeds N] [--only WORD]
python scripts/studies/wrong_labels.py DIR OUT.csv --summary

DIR holds features as for scripts/studies/choice_rivals.py, of which at most 1,000 rows are used.
Each seed labels 1, 5 and 10 images per class, at random in equal numbers or chosen by lp_coverage,
and gives 10 or 20 % of them another class at random, at least one.  Every ranking then names as
many labels as are wrong; those that it names are answered rightly.

--peer: the Python of an environment with cleanlab==2.9.0.  cleanlab ranks labels by predictions
that do not know them: of a logistic regression in stratified cross-validation with up to five folds
(lr), or of the ten nearest labels, as its Datalab does for features (knn).
Other rankings of the project: views, the mean rank over the graphs of features and pixels; loss,
the cross-entropy of a logistic regression that has been trained on all labels; diffusion and
kernel, the two parts of ours.

--summary prints the tables of docs/wrong_labels.md.
"""

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.stats
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

from al_methods import select
from scripts.studies.choice_rivals import read_case
from scripts.studies.row_file import (
    keys_of_rows,
    open_rows,
    read_rows,
    select_sources,
    study_parser,
)
from semisup.label_propagation import propagate
from semisup.leave_one_out import leave_one_out_scores
from semisup.wrong_labels import (
    ALPHA,
    compare_with_others,
    diffusion_margins,
    kernel_margins,
    predict_by_kernel,
)
from utils.console import print_line
from utils.graph import affinity

MAX_ROWS = 1000
PER_CLASS = (1, 5, 10)
SHARES = (0.1, 0.2)
CHOICES = ("balanced", "chosen")
# Settings were chosen on these tables, which are not reported.
CHOSEN_ON = ("letter", "penbased", "satimage", "vowel", "movement_libras")
CLEANLAB = tuple(
    f"{probs} {method}"
    for probs in ("lr", "knn")
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
)
RANKINGS = ("ours", "diffusion", "kernel", "views", "loss", *CLEANLAB)
LOOKS = ("ours", "lr self_confidence", "knn self_confidence", "random")  # who chooses the looks
TWICE = "ours, twice as many"
LEFT_OUT = "without the doubtful"  # ours, if nobody looks: these labels are not used
OUTCOMES = (*LOOKS, TWICE, LEFT_OUT)
KEYS = ("data", "features", "seed", "per_class", "choice", "share")
COLUMNS = (
    *KEYS,
    *("labels", "wrong", "accuracy", "accuracy_wrong"),
    *(f"after {name}" for name in OUTCOMES),
    *(f"{kind} {name}" for kind in ("auroc", "found") for name in RANKINGS),
)


class Case(NamedTuple):
    """The rows of one seed; tensors, so that one graph serves all draws."""

    views: list[torch.Tensor]  # the first are the features
    labels: np.ndarray  # (N,)
    seed: int

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


class Peer:
    """cleanlab in a process of its own environment."""

    def __init__(self, python: str):
        script = Path(__file__).with_name("cleanlab_peer.py")
        self.process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def scores(self, labels: np.ndarray, probs: np.ndarray) -> dict[str, np.ndarray]:
        """Suspicion of each label (L,), per method of cleanlab."""
        assert self.process.stdin and self.process.stdout
        task = {"labels": labels.tolist(), "probs": probs.tolist()}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return {method: -np.array(quality) for method, quality in answer.items()}


class DenseSolver:
    """The diffusion on a small graph by its inverse, which serves all draws."""

    def __init__(self, W: Any):
        self.kernel = np.linalg.inv(np.eye(W.shape[0]) - ALPHA * W.toarray().astype(np.float64))

    def solve(self, sides: np.ndarray) -> np.ndarray:
        return np.asarray(self.kernel @ sides)

    def solve_rows(self, sides: np.ndarray) -> tuple[np.ndarray, None]:
        return self.solve(sides), None


def small_case(features: str, path: Path, seed: int) -> Case:
    """The rows of a seed, at most MAX_ROWS."""
    case = read_case(features, path, seed)
    kept = np.sort(np.random.default_rng(seed).permutation(len(case.labels))[:MAX_ROWS])
    views = [torch.as_tensor(view[kept]) for view in case.views]
    for view in views:
        W = affinity(view, k="auto")
        vars(W)["systems"] = {ALPHA: DenseSolver(W)}  # where utils.diffusion keeps its own
    return Case(views, case.labels[kept], seed)


def choices(case: Case) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name of the choice, labels per class, and the labeled images (L,)."""
    rng = np.random.default_rng(case.seed)
    members = [rng.permutation(np.flatnonzero(case.labels == c)) for c in range(case.classes)]
    for count in PER_CLASS:
        if min(map(len, members)) >= 2 * count:
            yield "balanced", count, np.concatenate([own[:count] for own in members])
    known = np.full(len(case.labels), -1)
    picked: list[int] = []
    for count in PER_CLASS:
        budget = count * case.classes - len(picked)
        if len(picked) + budget > len(known) // 2:
            return
        picks = select(
            "lp_coverage",
            features=case.views[0],
            pretrained_features=case.views[0],
            labels=known,
            budget=budget,
            rng=np.random.default_rng(case.seed),
            num_classes=case.classes,
            k="auto",
        )
        picked += picks.tolist()
        known[picks] = case.labels[picks]
        yield "chosen", count, np.array(picked)


def draw_wrong(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """The labels (L,), some of them another class."""
    rng = np.random.default_rng([seed, len(labels), round(100 * share)])
    wrong = rng.choice(len(labels), max(1, round(share * len(labels))), replace=False)
    flipped = labels.copy()
    flipped[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return flipped


def accuracy(
    case: Case, images: np.ndarray, labels: np.ndarray, not_counted: np.ndarray | None = None
) -> float:
    """Percent of the other images, without those not counted, whose propagated label is right."""
    known = np.full(len(case.labels), -1)
    known[images] = labels
    found = propagate(case.views[0], known, case.classes, balance="uniform", k="auto")
    rest = known < 0
    rest[not_counted if not_counted is not None else images] = False
    return float((found.labels[rest] == case.labels[rest]).mean() * 100)


def rank(case: Case, images: np.ndarray, labels: np.ndarray, peer: Peer) -> dict[str, np.ndarray]:
    """Suspicion of each label (L,), per ranking."""
    known = np.full(len(case.labels), -1)
    known[images] = labels
    position = np.argsort(np.argsort(images))  # of each label in ascending order

    by_view = [
        compare_with_others(affinity(view, k="auto"), view, known, case.classes).suspicion[position]
        for view in case.views
    ]
    x, W = case.views[0].numpy()[images].astype(np.float64), affinity(case.views[0], k="auto")
    z = leave_one_out_scores(W, known, case.classes, alpha=ALPHA, images=images)
    f = predict_by_kernel(x, labels, case.classes)
    counts = np.bincount(labels, minlength=case.classes)[labels]
    scores = {"ours": by_view[0]}
    scores["diffusion"] = np.where(counts > 1, diffusion_margins(z, labels), -np.inf)
    scores["kernel"] = np.where(counts > 1, kernel_margins(f, labels), -np.inf)
    scores["views"] = np.mean([scipy.stats.rankdata(one) for one in by_view], axis=0)
    model = LogisticRegression(max_iter=300).fit(x, labels)
    own = model.predict_proba(x)[np.arange(len(labels)), np.searchsorted(model.classes_, labels)]
    scores["loss"] = -own
    for name, predict in (("lr", predict_lr), ("knn", predict_knn)):
        probs = predict(x, labels, case.classes)
        scores |= {f"{name} {key}": one for key, one in peer.scores(labels, probs).items()}
    return scores


def predict_lr(x: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities (L, C) of stratified cross-validation, or of ten plain folds where every class
    has a single label."""
    most = int(np.bincount(labels).max())
    folds: Any = KFold(min(10, len(labels)), shuffle=True, random_state=0)
    if most > 1:
        folds = StratifiedKFold(min(5, most), shuffle=True, random_state=0)
    probs = np.zeros((len(labels), classes))
    warnings.filterwarnings("ignore", "The least populated class")  # it has fewer than folds
    for train, test in folds.split(x, labels):
        if len(set(labels[train])) < 2:
            probs[test] = 1 / classes
            continue
        model = LogisticRegression(max_iter=300).fit(x[train], labels[train])
        probs[np.ix_(test, model.classes_)] = model.predict_proba(x[test])
    return probs


def predict_knn(x: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Shares of the classes among the ten nearest other labels (L, C)."""
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, : min(10, len(labels) - 1)]
    return np.stack([np.bincount(labels[row], minlength=classes) / len(row) for row in nearest])


def measure(case: Case, images: np.ndarray, share: float, peer: Peer) -> list[str]:
    """The columns of a draw after KEYS."""
    truth = case.labels[images]
    labels = draw_wrong(truth, share, case.classes, case.seed)
    is_wrong = labels != truth
    count = int(is_wrong.sum())
    scores = rank(case, images, labels, peer)
    top = {name: np.argsort(-one, kind="stable")[:count] for name, one in scores.items()}
    rng = np.random.default_rng(case.seed)
    after = []
    for name in (*LOOKS, TWICE):
        corrected = labels.copy()
        looked = top[name] if name in top else rng.permutation(len(labels))[:count]
        if name == TWICE:
            looked = np.argsort(-scores["ours"], kind="stable")[: 2 * count]
        corrected[looked] = truth[looked]
        after.append(accuracy(case, images, corrected))
    rest = np.setdiff1d(np.arange(len(labels)), top["ours"])
    after.append(accuracy(case, images[rest], labels[rest], images))
    before = [accuracy(case, images, truth), accuracy(case, images, labels)]
    aurocs = [roc_auc_score(is_wrong, finite(scores[name])) for name in RANKINGS]
    found = [is_wrong[top[name]].mean() for name in RANKINGS]
    return [str(len(labels)), str(count), *(f"{value:.2f}" for value in (*before, *after)),
            *(f"{value:.4f}" for value in (*aurocs, *found))]  # fmt: skip


def finite(scores: np.ndarray) -> np.ndarray:
    """Ranks instead of scores, which may be infinite."""
    return np.asarray(scipy.stats.rankdata(scores))


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, seeds=10)
    parser.add_argument("--peer", help="Python of an environment with cleanlab==2.9.0")
    arguments = parser.parse_args(argv)
    if arguments.summary:
        print_summary(arguments.out)
        return 0
    if not arguments.peer:
        parser.error("--peer is missing: name the Python of an environment with cleanlab")
    write_rows(arguments)
    return 0


def write_rows(arguments: argparse.Namespace) -> None:
    """Append the rows that OUT.csv lacks; the seeds of all data sets in turn."""
    done = keys_of_rows(arguments.out, KEYS)
    sources = select_sources(arguments.folder, arguments.only)
    peer = Peer(arguments.peer)
    with open_rows(arguments.out, COLUMNS) as append_rows:
        for seed in range(arguments.seeds):
            for (data, features), paths in sources.items():
                if data in CHOSEN_ON:
                    continue
                last = (str(PER_CLASS[-1]), CHOICES[-1], str(SHARES[-1]))
                if (data, features, str(seed), *last) in done:
                    continue
                case = small_case(features, paths[seed % len(paths)], seed)
                for choice, per_class, images in choices(case):
                    for share in SHARES:
                        key = (data, features, str(seed), str(per_class), choice, str(share))
                        if key not in done:
                            append_rows([[*key, *measure(case, images, share, peer)]])
                print_line(f"{data} {features}, seed {seed}: done")


def print_summary(path: Path) -> None:
    """The tables of docs/wrong_labels.md: means over all data sets, seeds and shares."""
    rows = read_rows(path)
    print_rankings(rows, "auroc", "area under the ROC curve", 1)
    print_rankings(rows, "found", "wrong labels among as many as are wrong, in percent", 100)
    for choice in CHOICES:
        print_losses([row for row in rows if row["choice"] == choice], choice)


def print_rankings(rows: list[dict[str, str]], kind: str, title: str, scale: float) -> None:
    """Mean of a column per ranking; how much ours is better on the same draws, with its 95 %
    interval."""
    groups = [(choice, count) for choice in CHOICES for count in PER_CLASS]
    print_line(f"\n| {title} | " + " | ".join(f"{one}, {n}" for one, n in groups) + " |")
    print_line("| --- |" + " --- |" * len(groups))
    for name in RANKINGS:
        cells = []
        for choice, count in groups:
            own = [r for r in rows if (r["choice"], r["per_class"]) == (choice, str(count))]
            ours, theirs = (
                np.array([scale * float(row[f"{kind} {one}"]) for row in own])
                for one in ("ours", name)
            )
            digits = 3 if scale == 1 else 1
            difference = ours - theirs
            half = 1.96 * difference.std(ddof=1) / len(own) ** 0.5
            words = f" ({difference.mean():+.{digits}f} ± {half:.{digits}f})"
            cells.append(f"{theirs.mean():.{digits}f}" + (words if name != "ours" else ""))
        print_line(f"| {name} | " + " | ".join(cells) + " |")
    print_line(f"n = {len(rows) // len(groups)} draws per cell")


def print_losses(rows: list[dict[str, str]], choice: str) -> None:
    """Accuracy of the propagated labels, and the share of the loss that second looks recover."""
    header = [f"{choice}: data", "per class", "wrong", "n", "right labels", "loss", *OUTCOMES]
    print_line("\n| " + " | ".join(header) + " |")
    print_line("| --- " * len(header) + "|")
    kinds = dict.fromkeys(f"{row['data']}, {row['features']}" for row in rows)
    for kind in (*kinds, "all"):
        for count in PER_CLASS:
            for share in SHARES:
                own = [
                    row
                    for row in rows
                    if kind in (f"{row['data']}, {row['features']}", "all")
                    and (row["per_class"], row["share"]) == (str(count), str(share))
                ]
                if own:
                    print_line(f"| {kind} | {count} | {share:.0%} | {format_losses(own)} |")


def format_losses(rows: list[dict[str, str]]) -> str:
    """The cells of a row of `print_losses` after the first three."""
    right, wrong, *after = (
        np.array([float(row[name]) for row in rows])
        for name in ("accuracy", "accuracy_wrong", *(f"after {name}" for name in OUTCOMES))
    )
    loss = (right - wrong).mean()
    recovered = [f"{(one - wrong).mean() / loss:.0%}" if loss > 0 else "" for one in after]
    return " | ".join([str(len(rows)), f"{right.mean():.1f}", f"{loss:.1f}", *recovered])


if __name__ == "__main__":
    sys.exit(main())
