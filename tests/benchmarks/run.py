"""Compare our speed with that of direct implementations of the same formulas.

python -m tests.benchmarks.run [ROW ...] [--images N] [--csv F]

Both run in one process on the same data, in alternation; a ratio is the time of the reference
divided by ours.  The data are 50,000 images of 128 features unless --images says otherwise.  The
row "peer" compares with scikit-activeml if it is installed; "alone" measures our methods against
limits of time and memory; "result" is a whole run on 5,000 images, in seconds of the processor.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from al_methods import coreset, jlp, lp_coverage
from data.augment import ImageStore
from semisup.label_propagation import Propagation, propagate
from tests.benchmarks import reference_implementations
from tests.benchmarks.harness import compare, processor_name, write_csv
from tests.benchmarks.peer import bench_peer
from tests.benchmarks.single_process import bench_alone
from tests.benchmarks.synthetic_features import (
    features_and_classes,
    hide_labels,
    separate_clusters,
)
from tests.benchmarks.time_to_result import bench_time_to_result
from tests.benchmarks.training import bench_training
from utils.diffusion import diffuse
from utils.graph import affinity_graph
from utils.graph.graph_options import GraphOptions, GraphViewOptions
from utils.options.cli import OneLineErrorParser
from utils.options.converters import one_of, positive_integer
from utils.torch_faiss import faiss

Row = dict[str, Any]
Neighbors = tuple[np.ndarray, np.ndarray]  # similarities, indices
# The authors' code stops early; the formula means a system that is solved.
REFERENCE_SOLVES: dict[str, dict[str, Any]] = {
    "solved to 1e-6": {"rtol": 1e-6},
    "stopped after 20 iterations": {"rtol": 0.0, "maxiter": 20},
}


def picks_in_common(ours: np.ndarray, reference: list[int]) -> str:
    """Share of the reference's picks among as many of our first ones."""
    common = len(set(np.asarray(ours)[: len(reference)].tolist()) & set(reference))
    return f"{100 * common / len(reference):.1f} % of the picks"


@contextmanager
def replace_search(search: Callable[[np.ndarray, int, str], Neighbors]) -> Iterator[None]:
    """Use another nearest-neighbour search within the block."""
    original = affinity_graph.search_neighbors
    affinity_graph.search_neighbors = search
    try:
        yield
    finally:
        affinity_graph.search_neighbors = original


@contextmanager
def search_in_advance(x: np.ndarray, k: int) -> Iterator[None]:
    """Search once, so that only what follows the search is timed within the block."""
    neighbors = affinity_graph.search_neighbors(x, k, "exact")
    with replace_search(lambda x, k, search: neighbors):
        yield


def bench_coreset(n: int) -> list[Row]:
    x, truth = features_and_classes(n)
    labels, features = hide_labels(truth, n // 50), torch.from_numpy(x)
    budget = n // 50
    reference_budget = budget if n < 5000 else max(n // 1000, 1)
    return [
        compare(
            "core-set",
            lambda: coreset.pick(features=features, labels=labels, budget=budget),
            lambda: reference_implementations.coreset(x, labels, reference_budget),
            check=picks_in_common,
            target="40",
            runs=2,
            reference_part=coreset_part(n // 50, budget, reference_budget),
            warm_up=False,
        )
    ]


def coreset_part(labeled: int, budget: int, reference_budget: int) -> float:
    """The fraction of the work: each labeled image and each pick has the same cost."""
    return (labeled + reference_budget) / (labeled + budget)


def bench_jlp(n: int) -> list[Row]:
    x, truth = features_and_classes(n)
    labels, features, budget = hide_labels(truth, n // 50), torch.from_numpy(x), n // 50
    reference_budget = min(budget, 20)
    with search_in_advance(x, 51):
        W = affinity_graph.affinity(x)
        return [
            compare(
                f"jLP after the kNN, reference {how}",
                lambda: jlp.pick(
                    features=features, labels=labels, budget=budget, graph=GraphOptions()
                ),
                partial(reference_implementations.jlp, W, labels, reference_budget, **limits),
                check=picks_in_common,
                target="8",
                runs=2,
                reference_part=reference_budget / budget,
                warm_up=False,
            )
            for how, limits in REFERENCE_SOLVES.items()
        ]


def bench_propagation(n: int) -> list[Row]:
    return propagation_rows(n, 10, "6") + propagation_rows(n, 100, "4")


def propagation_rows(n: int, classes: int, target: str) -> list[Row]:
    x, truth = features_and_classes(n, classes=classes)
    labels = hide_labels(truth, n // 50)

    def describe_agreement(ours: Propagation, reference: tuple[np.ndarray, np.ndarray]) -> str:
        unlabeled = labels < 0
        reference_labels, reference_weights = reference
        equal = 100 * (ours.labels == reference_labels)[unlabeled].mean()
        difference = np.abs(ours.weights - reference_weights)[unlabeled].max()
        return f"labels {equal:.2f} %, weights within {difference:.3f}"

    with search_in_advance(x, 51):
        similarities, neighbors = affinity_graph.knn(x, 50)
        return [
            compare(
                f"propagation after the kNN, {classes} classes, reference {how}",
                lambda: propagate(x, labels, classes),
                partial(
                    reference_implementations.propagate,
                    labels,
                    classes,
                    similarities,
                    neighbors,
                    **limits,
                ),
                check=describe_agreement,
                target=target,
            )
            for how, limits in REFERENCE_SOLVES.items()
        ]


def bench_diffusion(n: int) -> list[Row]:
    """The graph is given; its preparation is part of each solve."""
    rows = []
    for name, make in (("separate clusters", separate_clusters), ("classes", features_and_classes)):
        x, truth = make(n)
        W, labels = affinity_graph.affinity(x), hide_labels(truth, n // 50)
        one_hot = (labels[:, None] == np.arange(10)).astype(np.float32)
        Y = one_hot / np.maximum(one_hot.sum(axis=0), 1)
        rows.append(
            compare(
                f"diffusion, {name}, 10 columns, reference solved to 1e-6",
                partial(diffuse, W, Y),
                partial(reference_implementations.diffuse, W, Y, 1e-6),
                check=lambda ours, theirs: f"within {np.abs(ours - theirs).max():.1e}",
                target="4",
                runs=5,
            )
        )
    return rows


def bench_lp_coverage(n: int) -> list[Row]:
    """n: 4,000 at most, of which the reference inverts a matrix."""
    n, budget = min(n, 4000), 40
    x, _ = features_and_classes(n)
    features, labels = torch.from_numpy(x), np.full(n, -1)
    labels[0] = 0  # one label: the greedy cover itself, which no communities replace
    W = affinity_graph.affinity(features)

    def share_of_coverage(ours: np.ndarray, reference: list[int]) -> str:
        kernel = reference_implementations.diffusion_kernel(W)
        covered, expected = (kernel[[0, *p]].max(axis=0).sum() for p in (ours, reference))
        return f"{100 * covered / expected:.2f} % of the coverage"

    def ours() -> np.ndarray:
        inputs: dict[str, Any] = {"features": features, "labels": labels}
        return lp_coverage.pick(
            **inputs, budget=budget, views=GraphViewOptions(), graph=GraphOptions()
        )

    return [
        compare(
            f"lp_coverage after the graph, {budget} of {n}",
            ours,
            lambda: reference_implementations.lp_coverage(W, 0, budget),
            check=share_of_coverage,
            target="4",
        )
    ]


def search_flat_index(x: np.ndarray, k: int, search: str) -> Neighbors:
    """faiss's exact search."""
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    return index.search(x, k)


def bench_knn(n: int) -> list[Row]:
    x, truth = features_and_classes(n)
    labels = hide_labels(truth, n // 50)

    def neighbors_in_common(ours: Neighbors, reference: Neighbors) -> str:
        shares = [np.isin(a, b).mean() for a, b in zip(ours[1], reference[1], strict=True)]
        return f"{100 * np.mean(shares):.3f} % of the neighbors"

    def labels_in_common(ours: Propagation, reference: Propagation) -> str:
        return f"labels {100 * (ours.labels == reference.labels)[labels < 0].mean():.2f} %"

    def approximate() -> Propagation:
        return propagate(x, labels, 10, search="approx")

    def on_flat_index() -> Propagation:
        with replace_search(search_flat_index):
            return propagate(x, labels, 10)

    def exact() -> Propagation:
        return propagate(x, labels, 10, search="exact")

    search_row = compare(
        "exact kNN, reference: faiss's flat index",
        lambda: affinity_graph.search_neighbors(x, 51, "exact"),
        lambda: search_flat_index(x, 51, "exact"),
        check=neighbors_in_common,
        target="1",
        warm_up=False,
    )
    rounds: list[tuple[str, Callable, Callable, str]] = [
        ("exact kNN, reference: on faiss's flat index", exact, on_flat_index, ""),
        ("approximate kNN, reference: on faiss's flat index", approximate, on_flat_index, "3"),
        ("approximate kNN, reference: ours with exact kNN", approximate, exact, ""),
    ]
    round_rows = [
        compare(
            f"round with {how}",
            ours,
            reference,
            check=labels_in_common,
            target=target,
            warm_up=False,
        )
        for how, ours, reference, target in rounds
    ]
    return [search_row, *round_rows]


def bench_input(n: int) -> list[Row]:
    """n: not used, 2,000 images are augmented in 100 batches."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(2000, 32, 32, 3), dtype=np.uint8)
    mean, std = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    images = ImageStore(tensor, mean, std, 4, True)
    transform = reference_implementations.input_pipeline(mean, std)
    batches = np.split(rng.integers(2000, size=12800), 100)

    def ours() -> None:
        for batch in batches:
            images.weak_batch(batch, rng)

    def reference() -> None:
        for batch in batches[:10]:
            reference_implementations.augment(pixels, batch, transform)

    name = "input pipeline, 12,800 images"
    return [compare(name, ours, reference, target="50", runs=5, reference_part=0.1)]


BENCHMARKS: dict[str, Callable[[int], Iterable[Row]]] = {
    "coreset": bench_coreset,
    "jlp": bench_jlp,
    "propagation": bench_propagation,
    "diffusion": bench_diffusion,
    "lp_coverage": bench_lp_coverage,
    "knn": bench_knn,
    "input": bench_input,
    "training": bench_training,
    "result": bench_time_to_result,
    "peer": bench_peer,
    "alone": bench_alone,
}


def describe_row(row: Row) -> str:
    if "ratio" in row:
        return f"{row['ratio']} times ({row['ratio_min']} to {row['ratio_max']})"
    return f"{row['ours_s']} s, {row['ours_mib']} MiB"


def markdown_table(rows: list[Row]) -> str:
    columns = (
        *("row", "ours_s", "reference_s", "ratio", "target", "ours_mib", "reference_mib"),
        "agreement",
    )
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def main(argv: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = OneLineErrorParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "rows", nargs="*", type=one_of(list(BENCHMARKS)), help=", ".join(BENCHMARKS)
    )
    parser.add_argument(
        "--images", type=positive_integer, default=50_000, help="number of images (default: 50000)"
    )
    parser.add_argument("--csv", default=None, help="write the table to this file")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
    print(f"{torch.get_num_threads()} threads of {processor_name()}, torch {torch.__version__}")
    rows = []
    for name in args.rows or BENCHMARKS:
        for row in BENCHMARKS[name](args.images):
            rows.append(row)
            print(f"{row['row']}: {describe_row(row)}", flush=True)
    print("\n" + markdown_table(rows))
    if args.csv and rows:
        write_csv(args.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
