"""What a run costs: steps, images seen, seconds."""

from collections.abc import Callable

import pandas as pd

from reports.runs import RunResult

COST_COLUMNS = ("steps", "images", "seconds")


def run_cost(sample: RunResult, seen: Callable) -> dict[str, float]:
    """COLUMNS of a whole run; NaN for what it does not leave.

    seen: config and results of a run -> the images that its training saw, with repetition.
    Pre-training is not counted: the runs that share it would differ by who came first."""
    steps = sample.results.get("steps", pd.Series(dtype=float)).sum(min_count=1)
    images = seen(sample.config, sample.results)
    return {"steps": float(steps), "images": images, "seconds": _training_seconds(sample)}


def _training_seconds(sample: RunResult) -> float:
    """Of timing.csv, all stages of the cycles."""
    try:
        timing = pd.read_csv(sample.folder / "timing.csv")
        of_cycles = pd.to_numeric(timing["cycle"], errors="coerce").notna()
        return float(timing.loc[of_cycles, "seconds"].sum(min_count=1))
    except (OSError, ValueError, KeyError, TypeError):
        return float("nan")
