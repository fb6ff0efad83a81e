"""What a run costs: steps, images seen, seconds."""

import pandas as pd

from utils.reports.names import added
from utils.reports.runs import Sample

COLUMNS = ("steps", "images", "seconds")


def cost(sample: Sample) -> dict[str, float]:
    """COLUMNS of a whole run; NaN for what it does not leave.

    Pre-training is not counted: the runs that share it would differ by who came first."""
    steps = sample.results.get("steps", pd.Series(dtype=float)).sum(min_count=1)
    return {"steps": float(steps), "images": _images(sample), "seconds": _seconds(sample)}


def _images(sample: Sample) -> float:
    """Images that training has seen, with repetition.

    They follow from the labels where there are no pseudo-labels to train on beside them; else only
    the run itself knew what its batches held."""
    config, labeled = sample.config, sample.results["labeled"]
    known = {"epochs", "steps_per_epoch", "batch_size"} <= set(config)
    if added(sample.who["options"]) or not known:
        return float("nan")
    try:
        if not config["steps_per_epoch"]:  # a pass over the labels
            return float(config["epochs"] * labeled.sum())
        batches = labeled.clip(upper=config["batch_size"])
        return float(config["epochs"] * config["steps_per_epoch"] * batches.sum())
    except TypeError:  # edited by hand
        return float("nan")


def _seconds(sample: Sample) -> float:
    """Of timing.csv, all stages of the cycles."""
    try:
        timing = pd.read_csv(sample.folder / "timing.csv")
        of_cycles = pd.to_numeric(timing["cycle"], errors="coerce").notna()
        return float(timing.loc[of_cycles, "seconds"].sum(min_count=1))
    except (OSError, ValueError, KeyError, TypeError):
        return float("nan")
