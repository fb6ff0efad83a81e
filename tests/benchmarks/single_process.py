"""Our methods alone, each in its own process: seconds, and peak memory beyond their inputs.

At these sizes the kernels or embeddings of scikit-activeml do not fit.  Each row has the limits of
time and memory.
"""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.harness import current_time
from tests.benchmarks.synthetic_features import features_and_classes, hide_labels

MINUTE, GIB = 60, 1024  # in seconds and MiB
METHOD_INPUTS = {
    "typiclust": ("pretrained_features",),
    "probcover": ("pretrained_features",),
    "badge": ("features", "probs"),
    "maxherding": ("pretrained_features",),
    "coreset": ("features",),
    "dropquery": ("features", "probs", "dropped_classes"),
    "lp_coverage": ("features",),
}


class Task(NamedTuple):
    """max_seconds, max_mib: the limits of the row."""

    method: str
    images: int
    dimensions: int
    classes: int
    picks: int
    max_seconds: int
    max_mib: int


def make_tasks(n: int) -> list[Task]:
    methods = [method for method in METHOD_INPUTS if method != "lp_coverage"]
    return [
        *(Task(method, n, 128, 10, 100, MINUTE, 2 * GIB) for method in methods),
        Task("badge", min(n, 20_000), 512, 100, 100, MINUTE, 500),
        Task("lp_coverage", n, 128, 10, n // 50, 3 * MINUTE, 4 * GIB),
    ]


def peak_mib(*, reset: bool = False) -> float:
    """The peak memory of this process in MiB; reset: start to measure it again from now on.

    Not by getrusage, which also counts the memory of the process that started this one."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_task(queue: Any, task: Task) -> None:
    """Put (seconds, MiB) into the queue.  Runs in its own process."""
    import torch

    from al_methods import select

    x, truth = features_and_classes(task.images, task.dimensions, task.classes)
    features = torch.from_numpy(x)
    generator = torch.Generator().manual_seed(0)
    logits = features @ torch.randn(task.dimensions, task.classes, generator=generator)
    inputs: dict[str, Any] = {
        "features": features,
        "pretrained_features": features,
        "probs": (10 * logits).softmax(dim=1),
        # Differs from the prediction for most images.
        "dropped_classes": torch.stack([torch.from_numpy(truth)] * 3, dim=1),
    }
    inputs = {name: inputs[name] for name in METHOD_INPUTS[task.method]}
    labels = hide_labels(truth, 100)
    before, begin = peak_mib(reset=True), current_time()
    rng = np.random.default_rng(0)
    select(task.method, **inputs, labels=labels, budget=task.picks, rng=rng)
    queue.put((current_time() - begin, peak_mib() - before))


def bench_alone(n: int) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    for task in make_tasks(n):
        queue = context.Queue()
        process = context.Process(target=measure_task, args=(queue, task))
        process.start()
        seconds, mib = queue.get()
        process.join()
        size = f"{task.images} × {task.dimensions}, {task.classes} classes, {task.picks} picks"
        yield {
            "row": f"{task.method} alone, {size}",
            "ours_s": round(seconds, 2),
            "ours_mib": round(mib),
            "target": f"{task.max_seconds} s, {task.max_mib} MiB",
        }
