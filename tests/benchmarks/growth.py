"""Growth of time and memory with the number of images.

python -m tests.benchmarks.growth [--sizes N ...] [--csv F]

Measures one round of propagation (features to pseudo-labels, 10 classes, --knn auto), core-set
(1,000 picks, 1,000 labeled images) and lp_coverage (100 picks, 1,000 labeled images; the graph's
time is in the note) on 128 features.  Each size has its own process, so that its peak memory is its
own.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks.harness import write_csv
from utils.options.cli import OneLineErrorParser
from utils.options.converters import make_number_type, one_of

TASKS = ("round", "core-set", "lp_coverage")


def measure_task(task: str, n: int, queue: Any) -> None:
    """Put (seconds, MiB before, peak MiB, note) into the queue.  Runs in its own process."""
    import torch

    from al_methods import coreset, lp_coverage
    from semisup.label_propagation import propagate
    from tests.benchmarks.synthetic_features import features_and_classes, hide_labels
    from utils.graph import affinity
    from utils.graph.graph_options import GraphOptions, GraphViewOptions, affinity_settings
    from utils.graph.nearest_neighbors import log

    log.setLevel("INFO")
    x, truth = features_and_classes(n)
    labels = hide_labels(truth, 1000)
    before = peak_mib()
    features, graph, note = torch.from_numpy(x), GraphOptions(), ""
    begin = time.perf_counter()
    if task == "round":
        pseudo_labels = propagate(x, labels, 10, search="auto").labels
        note = f"{100 * (pseudo_labels == truth)[labels < 0].mean():.2f} % correct"
    elif task == "core-set":
        coreset.pick(features=features, labels=labels, budget=1000)
    else:
        affinity(features, **affinity_settings(graph))  # kept for the tensor
        note = f"graph {time.perf_counter() - begin:.2f} s"
        begin, inputs = time.perf_counter(), {"features": features, "labels": labels}
        lp_coverage.pick(**inputs, budget=100, views=GraphViewOptions(), graph=graph)
    queue.put((time.perf_counter() - begin, before, peak_mib(), note))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log value over log size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main(argv: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = OneLineErrorParser(description=description, allow_abbrev=False)
    size = make_number_type(int, at_least=2000)
    parser.add_argument(
        "--sizes", nargs="+", type=size, default=[10**4, 10**5, 10**6], help="numbers of images"
    )
    parser.add_argument(
        "--tasks", nargs="+", type=one_of(list(TASKS)), default=TASKS, help=", ".join(TASKS)
    )
    parser.add_argument("--csv", default=None, help="write the table to this file")
    args = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for task in args.tasks:
        for n in args.sizes:
            queue = context.Queue()
            process = context.Process(target=measure_task, args=(task, n, queue))
            process.start()
            seconds, before, peak, note = queue.get()
            process.join()
            row = {"task": task, "images": n, "seconds": round(seconds, 2)}
            rows.append(row | {"before_mib": round(before), "peak_mib": round(peak), "note": note})
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        if len(args.sizes) > 1:
            for column in ("seconds", "peak_mib"):
                values = [row[column] for row in rows if row["task"] == task]
                exponent = growth_exponent(args.sizes, values)
                print(f"{task}: {column} grow as N^{exponent:.2f}", flush=True)
    if args.csv:
        write_csv(args.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
