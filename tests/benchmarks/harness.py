"""Time ours and a twin in one process, alternating; the ratio of each pair, and the peak memory.

On one thread time is the processor's, which is the same whatever else runs; on more it is the
clock's.
"""

import csv
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from threadpoolctl import threadpool_limits


def processor() -> str:
    """The make of the processor, as the system says it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "a processor without a name"


def resident() -> float:
    """MiB of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def now() -> float:
    """Seconds, of which differences count."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for all libraries below numpy, scikit-learn and faiss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


class Peak:
    """The most MiB that a block adds to the process, sampled every few milliseconds."""

    def __enter__(self):
        self.before = self.most = resident()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.over.wait(0.004):
            self.most = max(self.most, resident())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.added = max(self.most, resident()) - self.before


def timed(function) -> tuple[float, float, object]:
    """Seconds, MiB added, result."""
    with Peak() as peak:
        begin = now()
        result = function()
        seconds = now() - begin
    return seconds, peak.added, result


def compare(name, ours, twin, *, runs=3, twin_part=1.0, check=None, wanted="", warm=True) -> dict:
    """A row: medians and the ratio twin / ours pair by pair.

    twin_part: the part of the work that the twin is given, where it has a constant price apiece;
    its time is divided by it.  check(ours, twin) -> words on how far the results agree."""
    if warm:
        ours(), twin()
    seconds, twins, peaks, twin_peaks = [], [], [], []
    for _ in range(runs):
        ours_took, ours_peak, mine = timed(ours)
        twin_took, twin_peak, other = timed(twin)
        seconds.append(ours_took)
        twins.append(twin_took / twin_part)
        peaks.append(ours_peak)
        twin_peaks.append(twin_peak)
    ratios = [t / s for s, t in zip(seconds, twins, strict=True)]
    return {
        "row": name,
        "ours_s": round(median(seconds), 4),
        "twin_s": round(median(twins), 4),
        "ratio": round(median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "ours_mib": round(max(peaks)),
        "twin_mib": round(max(twin_peaks)),
        "wanted": wanted,
        "agreement": check(mine, other) if check else "",
        "twin_measured": "whole" if twin_part == 1 else f"{twin_part:.3g} of it",
    }


def write_csv(path: str, rows: list[dict]) -> None:
    """A table with all columns that a row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
