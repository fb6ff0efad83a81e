"""Ours alone, each in a process of its own: seconds, and MiB at most over what its inputs take.

Sizes at which the peer's kernels or embeddings do not fit.  Time and memory that are wanted stand
in the row.
"""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks.harness import now
from tests.benchmarks.synthetic_features import features_and_classes, some_labels

MINUTE, GIB = 60, 1024
METHODS = {
    "typiclust": ("pretrained_features",),
    "probcover": ("pretrained_features",),
    "badge": ("features", "probs"),
    "maxherding": ("pretrained_features",),
    "coreset": ("features",),
    "dropquery": ("features", "probs", "dropped_classes"),
    "lp_coverage": ("features",),
}


def tasks(n: int) -> list[tuple]:
    """Method, images, features, classes, picks, seconds and MiB wanted."""
    common = [(name, n, 128, 10, 100, MINUTE, 2 * GIB) for name in METHODS if name != "lp_coverage"]
    wide = ("badge", min(n, 20_000), 512, 100, 100, MINUTE, 500)
    return [*common, wide, ("lp_coverage", n, 128, 10, n // 50, 3 * MINUTE, 4 * GIB)]


def peak(*, afresh: bool = False) -> float:
    """The most MiB that this process has held, or has from now on.  getrusage counts what the
    process that started it held too."""
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(queue, method: str, n: int, d: int, classes: int, picks: int) -> None:
    """Run in a process of its own."""
    import torch

    from al_methods import select

    x, truth = features_and_classes(n, d, classes)
    features = torch.from_numpy(x)
    logits = features @ torch.randn(d, classes, generator=torch.Generator().manual_seed(0))
    probs = (10 * logits).softmax(dim=1)
    dropped = torch.stack([torch.from_numpy(truth)] * 3, dim=1)  # another class for most
    inputs = {"features": features, "pretrained_features": features, "probs": probs}
    inputs = {name: (inputs | {"dropped_classes": dropped})[name] for name in METHODS[method]}
    inputs["labels"] = some_labels(truth, 100)
    before, begin = peak(afresh=True), now()
    select(method, **inputs, budget=picks, rng=np.random.default_rng(0))
    queue.put((now() - begin, peak() - before))


def bench_alone(n: int) -> Iterator[dict]:
    context = multiprocessing.get_context("spawn")
    for method, count, d, classes, picks, *wanted in tasks(n):
        queue = context.Queue()
        process = context.Process(target=measure, args=(queue, method, count, d, classes, picks))
        process.start()
        seconds, added = queue.get()
        process.join()
        yield {
            "row": f"{method} alone, {count} × {d}, {classes} classes, {picks} picks",
            "ours_s": round(seconds, 2), "ours_mib": round(added),
            "wanted": "{} s, {} MiB".format(*wanted),
        }  # fmt: skip
