"""The cost of a run: training steps, images seen and seconds."""

import io
from collections.abc import Callable
from typing import Any

import pandas as pd

from reports.runs import RunResult, read_run_file
from utils.errors import UserError

COST_COLUMNS = ("steps", "images", "seconds")
# (config, results) of a run -> number of images seen in training, with repetition
ImageCounter = Callable[[dict[str, Any], pd.DataFrame], float]


def run_cost(run: RunResult, count_images: ImageCounter) -> dict[str, float]:
    """The COST_COLUMNS of a whole run; NaN where its files do not tell.

    Pre-training is not counted: several runs share one, and only the first of them pays for it."""
    steps = run.results.get("steps", pd.Series(dtype=float)).sum(min_count=1)
    images = count_images(run.config, run.results)
    return {"steps": float(steps), "images": images, "seconds": _training_seconds(run)}


def _training_seconds(run: RunResult) -> float:
    """The sum of timing.csv over all stages of all cycles."""
    try:
        timing = pd.read_csv(io.BytesIO(read_run_file(run.folder / "timing.csv")))
        in_cycle = pd.to_numeric(timing["cycle"], errors="coerce").notna()
        return float(timing.loc[in_cycle, "seconds"].sum(min_count=1))
    except (UserError, ValueError, KeyError, TypeError):
        return float("nan")
