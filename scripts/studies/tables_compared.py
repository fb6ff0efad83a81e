"""Which first labels are worth most on the tables, and on how many of them.

python scripts/studies/tables_compared.py RUNS        prints Markdown

The runs are those of the sweep that scripts/studies/tables_as_features.py writes.  Accuracies are of the
test rows, averaged over the divisions of a table; the differences are tested over the tables, each
counted once, whatever its size: Demšar, "Statistical comparisons of classifiers over multiple data
sets", Journal of Machine Learning Research 7, 2006, section 3.1.3.
"""

import sys
from pathlib import Path

if not __package__:  # run as a path, from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import pandas as pd

from reports.paired_tests import difference_statistics, holm_correction
from reports.runs import RunResult, read_runs_below
from scripts.studies.claims import format_difference
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

OWN_METHOD = "lp_coverage"


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="where the sweep's runs are")
    folder = parser.parse_args(argv).folder
    try:
        samples, notes = read_runs_below(Path(folder))
        for note in notes:
            print_line(note, "stderr")
        found = collect_accuracies(samples)
        if OWN_METHOD not in found or found.empty:
            raise UserError(
                f"no table with finished runs of {OWN_METHOD} and the others below {folder}"
            )
    except UserError as error:
        return print_error(error)
    print_line(means_table(found) + "\n" + differences_table(found))
    return 0


def collect_accuracies(samples: list[RunResult]) -> pd.DataFrame:
    """Top-1: a row a table, division and cycle, a column a way to choose the first labels."""
    parts = [
        sample.results.assign(
            cycle=range(len(sample.results)),
            table=sample.config["exp_name"],
            classes=sample.config["al_budget"],
            division=sample.split,
            choice=sample.config["initial"],
        )
        for sample in samples
        if sample.config["dataset"] == "features" and sample.config["exp_name"]
    ]
    if not parts:
        return pd.DataFrame()
    rows = ["table", "classes", "cycle", "division"]
    found = pd.concat(parts).set_index([*rows, "choice"])["top1"]
    if found.index.has_duplicates:
        raise UserError("two runs are of the same table, division and choice: one sweep a folder")
    return found.unstack("choice").dropna()


def means_table(found: pd.DataFrame) -> str:
    """A row a table: mean and deviation over its divisions with the first labels alone."""
    groups = found.xs(0, level="cycle").groupby(level=["table", "classes"])
    mean, deviation = groups.mean(), groups.std()
    lines = [
        "| table, classes | " + " | ".join(found) + " |",
        "| --- |" + " --- |" * found.shape[1],
    ]
    for table, row in mean.iterrows():
        cells = [f"{row[name]:.1f} ± {deviation.loc[table, name]:.1f}" for name in found]
        lines.append(f"| {table[0]}, {table[1]} | " + " | ".join(cells) + " |")
    lines.append("| mean | " + " | ".join(f"{value:.1f}" for value in mean.mean()) + " |")
    return "\n".join(lines) + "\n"


def differences_table(found: pd.DataFrame) -> str:
    """A row another choice, a column a number of labels: the mean difference over the tables, its
    interval by t, Wilcoxon's p after Holm's correction, and on how many tables it is above."""
    by_table = found.groupby(level=["cycle", "table"]).mean()
    apart = by_table.drop(columns=OWN_METHOD).rsub(
        by_table[OWN_METHOD], axis=0
    )  # MINE less the other
    cycles = apart.index.unique("cycle")
    rows = {
        (name, n): difference_statistics(apart.loc[n, name].to_numpy())
        for name in apart
        for n in cycles
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame = frame.assign(p=holm_correction(frame["wilcoxon_p"]))
    heads = [f"labels = {n + 1} × classes" for n in cycles]
    lines = [
        f"| {OWN_METHOD} less | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(cycles),
    ]
    for name in apart:
        cells = []
        for n in cycles:
            some = apart.loc[n, name]
            above = f"above on {(some > 0).sum()} of {len(some)}"
            cells.append(f"{format_difference(frame.loc[(name, n),], len(some))}; {above}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
