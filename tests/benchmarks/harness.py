"""Measure our code and a reference in alternation: time, ratio of each pair, and memory.

On one thread time is that of the processor, which does not depend on what else is running; on more
threads it is that of the clock.
"""

import csv
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from threadpoolctl import threadpool_limits


def processor_name() -> str:
    """The model of the processor as the system reports it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def resident_mib() -> float:
    """Memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def current_time() -> float:
    """Seconds; only differences are meaningful."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the libraries below numpy, scikit-learn and faiss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


class PeakMemory:
    """Measures the memory that a block adds to the process, sampled every few milliseconds.

    added: MiB, after the block."""

    added = 0.0

    def __enter__(self) -> "PeakMemory":
        self._before = self._highest = resident_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.004):
            self._highest = max(self._highest, resident_mib())

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self.added = max(self._highest, resident_mib()) - self._before


def measure(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, MiB added, result."""
    with PeakMemory() as memory:
        begin = current_time()
        result = function()
        seconds = current_time() - begin
    return seconds, memory.added, result


def compare(
    name: str,
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    *,
    runs: int = 3,
    reference_part: float = 1.0,
    check: Callable[[Any, Any], str] | None = None,
    target: str = "",
    warm_up: bool = True,
) -> dict[str, Any]:
    """One row of the table: medians, and the ratio reference / ours of each pair.

    reference_part: the fraction of the work that `reference` does, if its cost per item is
    constant; its time is divided by it.
    check: (result of ours, result of the reference) -> how well they agree.
    target: the ratio to be reached."""
    if warm_up:
        ours()
        reference()
    our_seconds, our_mib, reference_seconds, reference_mib = [], [], [], []
    for _ in range(runs):
        seconds, mib, our_result = measure(ours)
        our_seconds.append(seconds)
        our_mib.append(mib)
        seconds, mib, reference_result = measure(reference)
        reference_seconds.append(seconds / reference_part)
        reference_mib.append(mib)
    ratios = [r / s for s, r in zip(our_seconds, reference_seconds, strict=True)]
    return {
        "row": name,
        "ours_s": round(median(our_seconds), 4),
        "reference_s": round(median(reference_seconds), 4),
        "ratio": round(median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "ours_mib": round(max(our_mib)),
        "reference_mib": round(max(reference_mib)),
        "target": target,
        "agreement": check(our_result, reference_result) if check else "",
        "reference_measured": (
            "whole" if reference_part == 1 else f"{reference_part:.3g} of the work"
        ),
    }


def write_csv(path: str, rows: list[dict[str, Any]]) -> None:
    """A table with all columns that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
