"""What a run estimated about classes without a label (data.unseen_classes), for the page."""

import csv
import io
from pathlib import Path

from experiment.label_tables import CHOSEN_PICKS, UNSEEN_FILE


def describe_unseen_share(folder: Path) -> str:
    """The estimate after the last labels of a run in words; empty where it has none.

    folder: of the run."""
    try:
        text = (folder / UNSEEN_FILE).read_text(encoding="utf-8")
        *_, last = csv.DictReader(io.StringIO(text, newline=""))
        share, low, high = (float(last[f"unseen_{name}"]) for name in ("percent", "low", "high"))
        classes, images, picks = int(last["classes"]), int(last["unseen_images"]), last["picks"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        csv.Error,
    ):  # there is none, or somebody has edited it
        return ""
    chosen = ", from chosen images, which make it too high with few labels per class"
    return (
        f"{classes} {'class has' if classes == 1 else 'classes have'} labels. Of the images "
        f"without an answer about {share:.1f} % ({low:.1f} to {high:.1f} %, 95 % interval), "
        f"{images} images, are of other classes{chosen if picks == CHOSEN_PICKS else ''}."
    )
