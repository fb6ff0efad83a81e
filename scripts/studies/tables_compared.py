"""Compare methods for selecting labels on the tables of scripts/studies/tables_as_features.py.

python scripts/studies/tables_compared.py RUNS        prints Markdown

Accuracies are those on the test rows, averaged over the divisions of a table.  Differences are
tested over the tables, each of which counts once, whatever its size: J. Demšar, "Statistical
comparisons of classifiers over multiple data sets", Journal of Machine Learning Research 7, 2006,
section 3.1.3.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import pandas as pd

from reports.paired_tests import difference_statistics, holm_correction
from reports.runs import RunResult, read_runs_below
from scripts.studies.claims import format_difference
from utils.console import pluralize, print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

OWN_METHOD = "lp_coverage"


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineErrorParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="folder with the runs of the sweep")
    folder = parser.parse_args(argv).folder
    try:
        runs, notes = read_runs_below(Path(folder))
        for note in notes:
            print_line(note, "stderr")
        accuracies = collect_accuracies(runs)
        if OWN_METHOD not in accuracies or accuracies.empty:
            raise UserError(
                f"no table with finished runs of {OWN_METHOD} and the other methods below {folder}"
            )
    except UserError as error:
        return print_error(error)
    print_line(means_table(accuracies) + "\n" + differences_table(accuracies))
    return 0


def collect_accuracies(runs: list[RunResult]) -> pd.DataFrame:
    """Top-1 accuracy: one row per table, division and cycle, one column per method.

    The method is that of the first labels (--initial).  Divisions that some method lacks are left
    out.  Raises UserError if two runs have the same table, division and method."""
    parts = [
        run.results.assign(
            cycle=range(len(run.results)),
            table=run.config["exp_name"],
            classes=run.config["al_budget"],
            division=run.split,
            method=run.config["initial"],
        )
        for run in runs
        if run.config["dataset"] == "features" and run.config["exp_name"]
    ]
    if not parts:
        return pd.DataFrame()
    index = ["table", "classes", "cycle", "division", "method"]
    top1 = pd.concat(parts).set_index(index)["top1"]
    if top1.index.has_duplicates:
        raise UserError(
            "two runs are of the same table, division and method; give a folder with one sweep"
        )
    return top1.unstack("method").dropna()


def means_table(accuracies: pd.DataFrame) -> str:
    """One row per table: mean and standard deviation over its divisions with the first labels."""
    groups = accuracies.xs(0, level="cycle").groupby(level=["table", "classes"])
    mean, deviation = groups.mean(), groups.std()
    lines = [
        "| table, classes | " + " | ".join(accuracies) + " |",
        "| --- |" + " --- |" * accuracies.shape[1],
    ]
    for table, row in mean.iterrows():
        cells = [f"{row[name]:.1f} ± {deviation.loc[table, name]:.1f}" for name in accuracies]
        lines.append(f"| {table[0]}, {table[1]} | " + " | ".join(cells) + " |")
    lines.append("| mean | " + " | ".join(f"{value:.1f}" for value in mean.mean()) + " |")
    return "\n".join(lines) + "\n"


def differences_table(accuracies: pd.DataFrame) -> str:
    """One row per other method, one column per number of labels.

    A cell has the mean difference over the tables with its interval by t, Wilcoxon's p after Holm's
    correction, and the number of tables on which OWN_METHOD is better."""
    by_table = accuracies.groupby(level=["cycle", "table"]).mean()
    differences = by_table.drop(columns=OWN_METHOD).rsub(by_table[OWN_METHOD], axis=0)
    cycles = differences.index.unique("cycle")
    rows = {
        (name, n): difference_statistics(differences.loc[n, name].to_numpy())
        for name in differences
        for n in cycles
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame = frame.assign(p=holm_correction(frame["wilcoxon_p"]))
    heads = [f"{pluralize(n + 1, 'label')} per class" for n in cycles]
    lines = [
        f"| {OWN_METHOD} minus | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(cycles),
    ]
    for name in differences:
        cells = []
        for n in cycles:
            values = differences.loc[n, name]
            words = format_difference(frame.loc[(name, n),], len(values))
            cells.append(f"{words}; higher on {(values > 0).sum()} of {len(values)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
