"""Tables of a run folder that follow from the labels: which images got a label without a query.

    inherited.csv   the duplicates of labeled images, with the label that they inherit

A table is rewritten as a whole whenever labels are revealed, and removed where it has no rows.
"""

from typing import Any

from data.active_dataset import ActiveDataset
from data.duplicates import inherit_labels
from data.state import State
from utils.files import render_csv

INHERITED_FILE = "inherited.csv"
INHERITED_COLUMNS = ("cycle", "index", "label", "same_as")


def render_label_tables(dataset: ActiveDataset, state: State) -> dict[str, bytes | None]:
    """The contents of each table by file name; None where it has no rows."""
    rows = inherited_rows(dataset, state)
    return {INHERITED_FILE: render_csv(INHERITED_COLUMNS, rows).encode() if rows else None}


def inherited_rows(dataset: ActiveDataset, state: State) -> list[dict[str, Any]]:
    """One row per inherited label: the cycle whose network chose the labeled image (-1: the first
    labels), index and label of the image that inherits, and the index of the labeled one."""
    groups = dataset.duplicate_groups
    if groups is None:
        return []
    records = state.history[: state.num_answered_cycles]
    cycles = {int(n): cycle - 1 for cycle, record in enumerate(records) for n in record.queried}
    inherited = inherit_labels(groups, state.pool.labels, state.pool.labeled_order)
    rows = []
    for image, label, source in zip(*(part.tolist() for part in inherited), strict=True):
        index, same_as = dataset.dataset_indices[[image, source]].tolist()
        values = (cycles[source], index, label, same_as)
        rows.append(dict(zip(INHERITED_COLUMNS, values, strict=True)))
    return sorted(rows, key=lambda row: (row["cycle"], row["index"]))
