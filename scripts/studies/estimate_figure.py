"""Draw the estimate of the accuracy against the truth over the cycles of three data sets.

python scripts/studies/estimate_figure.py scripts/studies/results/estimate_coverage.csv OUT.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.studies.estimate_tables import SHIPPED, Row, posterior, read_rows
from semisup.accuracy_posterior import estimate_accuracy

PANELS = {
    "digits, SimCLR": "digits-simclr",
    "MNIST-5k, MobileNetV3": "mnist5k",
    "Fashion-5k, MobileNetV3": "fashion5k",
}
METHODS = {"lp_coverage": "#0072b2", "lp_coverage + audit": "#d55e00"}
BUDGETS = (10, 100)
SEED = 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args(argv)
    rows = [row for row in read_rows(arguments.rows) if row["training"] == "lp"]
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 3.3), layout="constrained")
        grid = figure.subplots(1, len(PANELS), sharey=True)
        for axis, (title, data) in zip(grid, PANELS.items(), strict=True):
            own = [row for row in rows if row["data"] == data and row["seed"] == SEED]
            draw_panel(axis, own)
            axis.set_title(title)
        grid[0].set_ylabel("accuracy on the unlabeled images (%)")
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(arguments.out, dpi=110)
    return 0


def draw_panel(axis: Axes, rows: list[Row]) -> None:
    for method, color in METHODS.items():
        for budget in BUDGETS:
            own = [row for row in rows if (row["method"], row["budget"]) == (method, budget)]
            own.sort(key=lambda row: row["cycle"])
            found = np.array(
                [
                    estimate_accuracy(posterior(row, "network", SHIPPED), row["unlabeled"])
                    for row in own
                ]
            ).T
            labels, truth = [row["labels"] for row in own], [100 * row["network"] for row in own]
            first = budget == BUDGETS[0]
            axis.fill_between(labels, *(100 * found[1:]), color=color, alpha=0.15, lw=0,
                              label=f"{method}: 95 % interval" if first else None)  # fmt: skip
            axis.plot(labels, 100 * found[0], ":", color=color)
            axis.plot(labels, truth, "o-", color=color, markersize=3,
                      label=f"{method}: truth" if first else None)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])
    axis.minorticks_off()
    axis.set_xlabel("labels")
    axis.grid(alpha=0.3)


if __name__ == "__main__":
    sys.exit(main())
