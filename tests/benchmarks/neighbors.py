"""Approximate nearest neighbours of all rows: our search and other libraries at equal recall.

python -m tests.benchmarks.neighbors [SEARCH ...] [--images N] [--recall R] [--equal] [--csv F]

For each search, the index is built once; of its settings, the fastest that reaches the recall on
1,000 rows finds the neighbours of all rows.  Seconds are those of building and of this search.
Each search has its own process, whose peak memory is its own, less the features.  The data are 128
features, of which --equal makes half of the rows equal; the k = 51 neighbours include the row.
Libraries that are not installed are left out (pip install --group neighbors).

Recall is the share of the exact neighbours that were found, where any row that is as near as the
k-th neighbour counts.  On one thread time is that of the processor, on more that of the clock.
"""

import importlib.util
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.benchmarks.harness import processor_name, write_csv
from tests.benchmarks.single_process import peak_mib
from tests.benchmarks.synthetic_features import features_and_classes
from utils.graph.cell_neighbors import ROUNDING
from utils.graph.nearest_neighbors import approximate_neighbors
from utils.options.cli import OneLineErrorParser
from utils.options.converters import make_number_type, one_of
from utils.torch_faiss import faiss

K = 51
SAMPLE_SIZE = 1000
BATCH_SIZE = 65_536  # rows per call of an inverted file, in the order of its cells
WIDTHS = (52, 64, 80, 100, 130, 160, 200, 250, 320, 400, 500)  # of the search of a graph


class Search(NamedTuple):
    """package: to be installed; build: features -> index; settings: fastest first, none if the
    setting is the recall; find: index, features, rows, setting -> indices (M, K)."""

    package: str
    build: Callable[[np.ndarray], Any]
    settings: Sequence[Any]
    find: Callable[[Any, np.ndarray, np.ndarray, Any], np.ndarray]


def build_inverted_file(x: np.ndarray) -> Any:
    cells = int(len(x) ** (2 / 3) / 3)
    index: Any = faiss.index_factory(x.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 8, 40
    index.train(x)
    index.add(x)
    return index


def search_inverted_file(index: Any, x: np.ndarray, rows: np.ndarray, probes: int) -> np.ndarray:
    index.nprobe = probes
    order = rows[np.argsort(index.quantizer.search(x[rows], 1)[1][:, 0], kind="stable")]
    found = np.empty((len(x), K), dtype=np.int64)
    for batch in np.array_split(order, -(-len(order) // BATCH_SIZE)):
        found[batch] = index.search(x[batch], K)[1]
    return found[rows]


def build_faiss_hnsw(x: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(x.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 60
    index.add(x)
    return index


def search_faiss_hnsw(index: Any, x: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    index.hnsw.efSearch = width
    return index.search(x[rows], K)[1]


def build_faiss_nsg(x: np.ndarray) -> Any:
    index: Any = faiss.IndexNSGFlat(x.shape[1], 24)  # distances: the rows have unit length
    index.build_type = 1  # by NN-descent
    index.add(x)
    return index


def search_faiss_nsg(index: Any, x: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    index.nsg.search_L = width
    return index.search(x[rows], K)[1]


def build_hnswlib(x: np.ndarray) -> Any:
    index = importlib.import_module("hnswlib").Index("ip", x.shape[1])
    index.init_index(len(x), M=16, ef_construction=60)
    index.set_num_threads(torch.get_num_threads())
    index.add_items(x)
    return index


def search_hnswlib(index: Any, x: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    index.set_ef(width)
    return index.knn_query(x[rows], K)[0].astype(np.int64)


def build_usearch(x: np.ndarray) -> Any:
    index = importlib.import_module("usearch.index").Index(
        ndim=x.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=60
    )
    index.add(np.arange(len(x)), x, threads=torch.get_num_threads())
    return index


def search_usearch(index: Any, x: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    index.expansion_search = width
    found = index.search(x[rows], K, threads=torch.get_num_threads())
    return found.keys.astype(np.int64)


def search_pynndescent(_: Any, x: np.ndarray, rows: np.ndarray, iterations: int) -> np.ndarray:
    arguments = {"n_jobs": torch.get_num_threads(), "n_iters": iterations, "random_state": 0}
    descent = importlib.import_module("pynndescent").NNDescent
    indices: np.ndarray = descent(x, metric="dot", n_neighbors=K, **arguments).neighbor_graph[0]
    return indices[rows]


def search_ours(_: Any, x: np.ndarray, rows: np.ndarray, target: float) -> np.ndarray:
    return approximate_neighbors(x, K, target)[1][rows]


def build_nothing(_: np.ndarray) -> None:
    pass


PROBES = (4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)
SEARCHES = {
    "ours": Search("torch", build_nothing, (), search_ours),
    "faiss-ivf": Search("faiss", build_inverted_file, PROBES, search_inverted_file),
    "faiss-hnsw": Search("faiss", build_faiss_hnsw, WIDTHS, search_faiss_hnsw),
    "faiss-nsg": Search("faiss", build_faiss_nsg, WIDTHS, search_faiss_nsg),
    "hnswlib": Search("hnswlib", build_hnswlib, WIDTHS, search_hnswlib),
    "usearch": Search("usearch", build_usearch, WIDTHS, search_usearch),
    "pynndescent": Search("pynndescent", build_nothing, (1, 2, 3, 5, 10), search_pynndescent),
}


def load_features(n: int, *, equal: bool) -> np.ndarray:
    x, _ = features_and_classes(n)
    if equal:
        x[np.random.default_rng(2).permutation(n)[: n // 2]] = x[0]
    return x


def recall_of(x: np.ndarray, rows: np.ndarray, kth: np.ndarray, found: np.ndarray) -> float:
    """Of the neighbours found (M, K) of the rows (M,), whose exact k-th products are kth (M,)."""
    near = np.einsum("md,mkd->mk", x[rows], x[found]) >= kth[:, None] - ROUNDING
    return float(np.mean([len(np.unique(f[n])) for f, n in zip(found, near, strict=True)])) / K


def measure_search(name: str, n: int, equal: bool, target: float, queue: Any) -> None:
    """Put a row of the table into the queue.  Runs in its own process."""
    threads = torch.get_num_threads()  # numba changes it
    clock = time.process_time if threads == 1 else time.perf_counter
    x = load_features(n, equal=equal)
    rows = np.sort(np.random.default_rng(1).choice(n, min(SAMPLE_SIZE, n), replace=False))
    kth = faiss.knn(x[rows], x, K, metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    search = SEARCHES[name]
    if name == "pynndescent":
        search_pynndescent(None, x[:2000], np.arange(2000), 1)  # compiles
    before, begin = peak_mib(reset=True), clock()
    index = search.build(x)
    building = clock() - begin
    setting: Any = target
    for setting in search.settings:
        if recall_of(x, rows, kth, search.find(index, x, rows, setting)) >= target:
            break
    begin = clock()
    found = search.find(index, x, np.arange(n), setting)
    queue.put(
        {
            "search": name,
            "images": n,
            "equal": f"{equal / 2:.0%}",
            "threads": threads,
            "seconds": round(building + clock() - begin, 2),
            "recall": round(recall_of(x, rows, kth, found[rows]), 4),
            "peak_mib": round(peak_mib() - before),
            "setting": setting,
        }
    )


def measure_in_processes(
    names: Sequence[str], n: int, equal: bool, target: float
) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    for name in names:
        if importlib.util.find_spec(SEARCHES[name].package) is None:
            print(f"{name} is left out: not installed (pip install --group neighbors)")
            continue
        queue = context.Queue()
        process = context.Process(target=measure_search, args=(name, n, equal, target, queue))
        process.start()
        yield queue.get()
        process.join()


def main(argv: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = OneLineErrorParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "searches",
        nargs="*",
        type=one_of(SEARCHES),
        metavar="SEARCH",
        help=f"{', '.join(SEARCHES)}; default: all",
    )
    size = make_number_type(int, at_least=1000)
    parser.add_argument("--images", type=size, default=100_000, help="rows of the features")
    share = make_number_type(float, at_least=0, at_most=1)
    parser.add_argument("--recall", type=share, default=0.95, help="recall to be reached")
    parser.add_argument("--equal", action="store_true", help="half of the rows are equal")
    parser.add_argument("--csv", default=None, help="write the table to this file")
    args = parser.parse_args(argv)
    print(processor_name())
    rows = []
    names = args.searches or list(SEARCHES)
    for row in measure_in_processes(names, args.images, args.equal, args.recall):
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if args.csv:
        write_csv(args.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
