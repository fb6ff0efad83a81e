"""Ours against textbook twins: python -m tests.benchmarks.run [ROW ...] [--images N] [--csv F]

50,000 images of 128 features unless --images says otherwise.  Ours and the twin run in one process
on the same data, alternating; a ratio is the twin's time divided by ours.  "peer" compares with
scikit-activeml where it is installed, "alone" has neither twin nor peer, but a limit.
"""

import sys
import warnings

import numpy as np
import torch

from al_methods import coreset, jlp
from data.augment import ImageStore
from semisup.label_propagation import propagate
from tests.benchmarks import reference_implementations
from tests.benchmarks.harness import compare, processor, write_csv
from tests.benchmarks.peer import bench_peer
from tests.benchmarks.single_process import bench_alone
from tests.benchmarks.synthetic_features import features_and_classes, some_labels
from tests.benchmarks.training import bench_training
from utils.graph import affinity_graph
from utils.options.cli import OneLineErrorParser
from utils.options.converters import one_of, positive_integer
from utils.torch_faiss import faiss

# The released code stops early; a solve that is finished is what the formula means.
TWIN_SOLVES = {
    "solved to 1e-6": {"rtol": 1e-6},
    "stopped after 20 iterations": {"rtol": 0.0, "maxiter": 20},
}


def overlap(ours, twin) -> str:
    common = len(set(np.asarray(ours)[: len(twin)].tolist()) & set(twin)) / len(twin)
    return f"{100 * common:.1f} % of the picks"


def after_knn(found: tuple):
    """A search that has been done already, to time what comes after it."""

    def search(x, k, kind):
        return found

    return search


def bench_coreset(n):
    x, truth = features_and_classes(n)
    labels, tensor = some_labels(truth, n // 50), torch.from_numpy(x)
    budget, few = n // 50, max(n // 1000, 1)
    return [
        compare(
            "core-set",
            lambda: coreset.pick(features=tensor, labels=labels, budget=budget),
            lambda: (
                reference_implementations.coreset(x, labels, budget)
                if n < 5000
                else reference_implementations.coreset(x, labels, few)
            ),
            check=overlap,
            wanted="40",
            runs=2,
            twin_part=1.0 if n < 5000 else coreset_part(n, budget, few),
            warm=False,
        )
    ]


def coreset_part(n, budget, few) -> float:
    """The twin measures its distances to all labeled images and then to `few` picks, at a constant
    price a center."""
    return (n // 50 + few) / (n // 50 + budget)


def bench_jlp(n):
    x, truth = features_and_classes(n)
    labels, tensor, budget = some_labels(truth, n // 50), torch.from_numpy(x), n // 50
    few = min(budget, 20)
    kept = affinity_graph.search_neighbors
    affinity_graph.search_neighbors = after_knn(kept(x, 51, "exact"))
    W = affinity_graph.affinity(x)
    rows = [
        compare(
            f"jLP after the kNN, twin {how}",
            lambda: jlp.pick(features=tensor, labels=labels, budget=budget),
            lambda limit=limit: reference_implementations.jlp(W, labels, few, **limit),
            check=overlap,
            wanted="8",
            runs=2,
            twin_part=few / budget,
            warm=False,
        )
        for how, limit in TWIN_SOLVES.items()
    ]
    affinity_graph.search_neighbors = kept
    return rows


def same_labels(ours, twin) -> str:
    labels, weights = twin
    agree = 100 * (ours.labels == labels)[ours.unlabeled].mean()
    off = np.abs(ours.weights - weights)[ours.unlabeled].max()
    return f"labels {agree:.2f} %, weights within {off:.3f}"


class Found:
    """A propagation with what its checks need."""

    def __init__(self, found, labels):
        self.labels, self.weights, self.unlabeled = found.labels, found.weights, labels < 0


def bench_propagation(n):
    return propagation_rows(n, 10, "6") + propagation_rows(n, 100, "4")


def propagation_rows(n, classes, wanted):
    x, truth = features_and_classes(n, classes=classes)
    labels = some_labels(truth, n // 50)
    kept = affinity_graph.search_neighbors
    affinity_graph.search_neighbors = after_knn(kept(x, 51, "exact"))
    similarities, neighbors = affinity_graph.knn(x, 50)
    rows = [
        compare(
            f"propagation after the kNN, {classes} classes, twin {how}",
            lambda: Found(propagate(x, labels, classes), labels),
            lambda limit=limit: reference_implementations.propagate(
                x, labels, classes, similarities, neighbors, **limit
            ),
            check=same_labels,
            wanted=wanted,
        )
        for how, limit in TWIN_SOLVES.items()
    ]
    affinity_graph.search_neighbors = kept
    return rows


def bench_knn(n):
    x, truth = features_and_classes(n)
    labels = some_labels(truth, n // 50)

    def flat_index(x, k, _kind):
        index = faiss.IndexFlatIP(x.shape[1])
        index.add(x)
        return index.search(x, k)

    def same_neighbors(ours, twin):
        same = np.mean([np.isin(a, b).mean() for a, b in zip(ours[1], twin[1], strict=True)])
        return f"{100 * same:.3f} % of the neighbors"

    def agree(ours, twin):
        return f"labels {100 * (ours.labels == twin.labels)[labels < 0].mean():.2f} %"

    def approximate():
        return propagate(x, labels, 10, search="approx")

    def on_flat_index():
        kept, affinity_graph.search_neighbors = affinity_graph.search_neighbors, flat_index
        found = propagate(x, labels, 10)
        affinity_graph.search_neighbors = kept
        return found

    def exact():
        return propagate(x, labels, 10, search="exact")

    knn = compare(
        "exact kNN, twin: faiss's flat index",
        lambda: affinity_graph.search_neighbors(x, 51, "exact"),
        lambda: flat_index(x, 51, "exact"),
        check=same_neighbors,
        wanted="1",
        warm=False,
    )
    rounds = [
        compare(f"round with {how}", ours, twin, check=agree, wanted=wanted, warm=False)
        for how, ours, twin, wanted in [
            ("exact kNN, twin: on faiss's flat index", exact, on_flat_index, ""),
            ("approximate kNN, twin: on faiss's flat index", approximate, on_flat_index, "3"),
            ("approximate kNN, twin: ours with exact kNN", approximate, exact, ""),
        ]
    ]
    return [knn, *rounds]


def bench_input(n):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(2000, 32, 32, 3), dtype=np.uint8)
    mean, std = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    images, transform = (
        ImageStore(tensor, mean, std, 4, True),
        reference_implementations.input_pipeline(mean, std),
    )
    batches = np.split(rng.integers(2000, size=12800), 100)

    def ours():
        for batch in batches:
            images.weak_batch(batch, rng)

    def twin():
        for batch in batches[:10]:
            reference_implementations.augmented(pixels, batch, transform)

    row = "input pipeline, 12,800 images"
    return [compare(row, ours, twin, wanted="50", runs=5, twin_part=0.1)]


ROWS = {
    "coreset": bench_coreset,
    "jlp": bench_jlp,
    "propagation": bench_propagation,
    "knn": bench_knn,
    "input": bench_input,
    "training": bench_training,
    "peer": bench_peer,
    "alone": bench_alone,
}


def in_words(row) -> str:
    if "ratio" in row:
        return f"{row['ratio']} times ({row['ratio_min']} to {row['ratio_max']})"
    return f"{row['ours_s']} s, {row['ours_mib']} MiB"


def as_table(rows) -> str:
    """The rows as a markdown table."""
    columns = ("row", "ours_s", "twin_s", "ratio", "wanted", "ours_mib", "twin_mib", "agreement")
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("rows", nargs="*", type=one_of(list(ROWS)), help=", ".join(ROWS))
    parser.add_argument("--images", type=positive_integer, default=50_000)
    parser.add_argument("--csv", default=None, help="write the table here")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
    print(f"{torch.get_num_threads()} threads of {processor()}, torch {torch.__version__}")
    rows = []
    for name in args.rows or ROWS:
        for row in ROWS[name](args.images):
            rows.append(row)
            print(f"{row['row']}: {in_words(row)}", flush=True)
    print("\n" + as_table(rows))
    if args.csv and rows:
        write_csv(args.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
