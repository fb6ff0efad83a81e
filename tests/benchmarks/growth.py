"""How time and memory grow: python -m tests.benchmarks.growth [--sizes N ...] [--csv F]

The propagation round (features to pseudo-labels, 10 classes, --knn auto) and core-set picking 1,000
beside 1,000 labeled, 128 features, each size in a process of its own so that its peak is its own.
"""

import multiprocessing
import resource
import sys
import time

import numpy as np

from tests.benchmarks.harness import write_csv
from utils.options.cli import OneLineErrorParser
from utils.options.converters import make_number_type


def measure(task: str, n: int, queue) -> None:
    """Run in a process of its own: seconds of the task, peak MiB of the process."""
    import torch

    from al_methods import coreset
    from semisup.label_propagation import propagate
    from tests.benchmarks.synthetic_features import features_and_classes, some_labels
    from utils.graph.nearest_neighbors import log

    log.setLevel("INFO")
    x, truth = features_and_classes(n)
    labels = some_labels(truth, 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    note = ""
    if task == "round":
        found = propagate(x, labels, 10, search="auto")
        note = f"{100 * (found.labels == truth)[labels < 0].mean():.2f} % right"
    else:
        coreset.pick(features=torch.from_numpy(x), labels=labels, budget=1000)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put((seconds, before, peak, note))


def exponent(sizes, values) -> float:
    """The slope of log value over log size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    size = make_number_type(int, at_least=2000)
    parser.add_argument("--sizes", nargs="+", type=size, default=[10**4, 10**5, 10**6])
    parser.add_argument("--csv", default=None, help="write the table here")
    args = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    rows = []
    for task in ("round", "core-set"):
        for n in args.sizes:
            queue = context.Queue()
            process = context.Process(target=measure, args=(task, n, queue))
            process.start()
            seconds, before, peak, note = queue.get()
            process.join()
            row = {"task": task, "images": n, "seconds": round(seconds, 2)}
            rows.append(row | {"before_mib": round(before), "peak_mib": round(peak), "note": note})
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        if len(args.sizes) > 1:
            mine = [row for row in rows if row["task"] == task]
            for column in ("seconds", "peak_mib"):
                fitted = exponent(args.sizes, [row[column] for row in mine])
                print(f"{task}: {column} grow as N^{fitted:.2f}", flush=True)
    if args.csv:
        write_csv(args.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
