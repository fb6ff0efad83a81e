"""From runs to a table and a figure: python report.py FOLDER [--figure F.png] [--table F.md]

Reads config.json and results.csv of every finished run below FOLDER, groups the runs that differ in
their split alone, and gives the mean and the standard deviation (over splits, n−1) per cycle.
"""

import json
import sys
from pathlib import Path

import matplotlib
import pandas as pd

from utils.arguments import OneLineParser, complain, one_of
from utils.errors import UserError
from utils.files import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MEASURES = ("top1", "top5", "val_top1", "val_top5", "pseudo_accuracy")
TRAININGS = ("labels only", "PRE", "CEAL", "LP", "PRE + LP", "PRE + CEAL")  # in this order


def main(argv=None) -> int:
    parser = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a folder of runs, for example runs")
    parser.add_argument(
        "--measure", type=one_of(MEASURES), default="top1", help=", ".join(MEASURES)
    )
    parser.add_argument("--figure", type=Path, help="write the curves here (.png, .pdf, .svg)")
    parser.add_argument("--table", type=Path, help="write the table here (.md or .csv)")
    args = parser.parse_args(argv)
    try:
        runs = read_runs(args.folder)
        summary = summarise(runs, args.measure)
        table = markdown(summary)
        print(table, end="")
        if args.table:
            csv = args.table.suffix == ".csv"
            text = summary.to_csv(index=False, lineterminator="\n") if csv else table
            write_atomically(args.table, text.encode())
        if args.figure:
            draw(summary, args.measure, args.figure)
    except (UserError, OSError) as error:
        return complain(error, "report.py")
    return 0


def read_runs(folder: Path) -> pd.DataFrame:
    """A row a cycle of every finished run: dataset, method, training, split, labeled, measures.

    Raises UserError where there is none, or where runs of one split differ in other options."""
    frames, unfinished = [], 0
    for path in sorted(folder.rglob("results.csv")):
        config = json.loads((path.parent / "config.json").read_text())
        frame = pd.read_csv(path)
        if ".old" in path.parent.name:  # set aside by --resume False
            continue
        if len(frame) < config["al_nb_cycles"]:
            unfinished += 1
            continue
        parts = {"PRE": "add_unsupervised_pretraining", "LP": "add_lp", "CEAL": "add_ceal"}
        training = " + ".join(name for name, option in parts.items() if config[option])
        frame = frame.assign(
            dataset=config["dataset"],
            method=config["al_method"],
            training=training or "labels only",
            split=config["split"],
            folder=str(path.parent),
        )
        frames.append(frame)
    if unfinished:
        print(f"{unfinished} unfinished runs left out", file=sys.stderr)
    if not frames:
        raise UserError(f"no finished run below {folder}")
    runs = pd.concat(frames, ignore_index=True)
    repeated = runs.duplicated(["dataset", "method", "training", "split", "labeled"])
    if repeated.any():
        raise UserError(
            f"{runs[repeated].folder.iloc[0]} is not the only run of its split: "
            "name a folder whose runs differ in method, training and split alone"
        )
    return runs


def summarise(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Mean, standard deviation and number of splits per data set, training, method and cycle."""
    if measure not in runs or runs[measure].isna().all():
        raise UserError(f"these runs have no {measure}")
    runs = runs.assign(training=pd.Categorical(runs.training, TRAININGS, ordered=True))
    keys = ["dataset", "training", "method", "labeled"]
    groups = runs.dropna(subset=[measure]).groupby(keys, observed=True, sort=True)[measure]
    return groups.agg(mean="mean", std="std", splits="count").reset_index()


def markdown(summary: pd.DataFrame) -> str:
    """A row a training and method, a column a number of labels; mean ± standard deviation."""
    cells = summary["mean"].map("{:.1f}".format) + " ± " + summary["std"].map("{:.1f}".format)
    table = summary.assign(cell=cells.str.replace(" ± nan", "")).pivot(
        index=["dataset", "training", "method"], columns="labeled", values="cell"
    )
    lines = ["| data set | training | method | " + " | ".join(f"{n} labels" for n in table) + " |"]
    lines.append("| --- " * (3 + len(table.columns)) + "|")
    for names, row in table.iterrows():
        lines.append("| " + " | ".join([*names, *row.fillna("")]) + " |")
    splits = sorted(set(summary.splits))
    lines.append(f"\nMean ± standard deviation over {' to '.join(map(str, splits))} splits.")
    return "\n".join(lines) + "\n"


def draw(summary: pd.DataFrame, measure: str, path: Path) -> None:
    """One panel a training, one curve a method, shared axes, the spread over the splits shaded."""
    for dataset, part in summary.groupby("dataset"):
        trainings = list(part.training.unique())
        figure, axes = plt.subplots(
            1, len(trainings), figsize=(3.1 * len(trainings), 3.4), sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axis, training in zip(axes[0], trainings, strict=True):
            for i, (method, curve) in enumerate(part[part.training == training].groupby("method")):
                spread = curve["std"].fillna(0)
                style = {"color": f"C{i}", "label": method}
                axis.plot(curve.labeled, curve["mean"], marker="os^Dv"[i % 5], ms=4, **style)
                low, high = curve["mean"] - spread, curve["mean"] + spread
                axis.fill_between(curve.labeled, low, high, color=f"C{i}", alpha=0.12, lw=0)
            axis.set_title(training)
            axis.set_xlabel("labels")
            axis.set_xticks(sorted(part.labeled.unique()))
            axis.grid(alpha=0.3)
        axes[0, 0].set_ylabel(f"{measure} (%)")
        axes[0, 0].legend(fontsize="small")
        figure.suptitle(dataset)
        several = summary.dataset.nunique() > 1
        figure.savefig(path.with_stem(f"{path.stem}_{dataset}") if several else path, dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
