"""What copies of images cost: digits with copies of a tenth of the training images, --duplicates
ask-one beside ask-each.

python scripts/studies/duplicates_compared.py DIR

DIR: new folder for the data and the runs.  Prints one row per method and mode: the mean accuracy
over the seeds of each cycle, and how many different images the labels are of.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd
import torch

from data import DATASETS
from data.images import Images
from utils.console import print_line
from utils.options.cli import OneLineErrorParser
from utils.options.converters import non_empty_text

NUM_SEEDS = 10
COPIES = 9  # of each of a tenth of the training images
OPTIONS = (
    "--dataset arrays --epochs 30 --al-budget 10 --al-nb-cycles 5 --split {seed} --seed {seed}"
)
WAYS = {"entropy": "uncertainty_entropy", "margin": "margin", "random": "random"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineErrorParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="new folder to write to")
    folder = Path(parser.parse_args(argv).folder)
    folder.mkdir(parents=True)
    copied = write_data(folder / "digits.npz")
    rows = []
    for seed in range(NUM_SEEDS):
        for way, method in WAYS.items():
            for mode in ("ask-one", "ask-each"):  # in turn, so that both see the same machine
                run = folder / f"{way}-{mode}-{seed}"
                options = f"{OPTIONS.format(seed=seed)} --al-method {method} --duplicates {mode}"
                paths = ["--data-root", str(folder / "digits.npz"), "--run-dir", str(run)]
                program = str(Path(__file__).resolve().parents[2] / "main_al.py")
                subprocess.run([sys.executable, program, *options.split(), *paths], check=True)
                rows.append({"way": way, "mode": mode, **summarize(run, copied)})
    table = pd.DataFrame(rows)
    print_line(table.groupby(["way", "mode"]).mean().round(1).to_string())
    return 0


def write_data(path: Path) -> np.ndarray:
    """Write digits with copies; -> for each training image the one that it shows."""
    loaded = DATASETS["digits"].load_and_check("")
    train, test = loaded.train, loaded.test
    chosen = np.random.default_rng(0).permutation(len(train.labels))[: len(train.labels) // 10]
    copied = np.concatenate([np.arange(len(train.labels)), np.repeat(chosen, COPIES)])
    assert isinstance(train, Images) and isinstance(train.pixels, torch.Tensor)
    assert isinstance(test, Images) and isinstance(test.pixels, torch.Tensor)
    np.savez(
        path,
        x_train=train.pixels.numpy()[copied, 0],
        y_train=train.labels[copied],
        x_test=test.pixels.numpy()[:, 0],
        y_test=test.labels,
    )
    return copied


def summarize(run: Path, copied: np.ndarray) -> dict[str, float]:
    """The accuracy of each cycle, and the number of different images among all that were picked."""
    results, acquired = (pd.read_csv(run / name) for name in ("results.csv", "acquired.csv"))
    accuracies = {f"top1 {row.labeled}": row.top1 for row in results.itertuples()}
    return accuracies | {"picked": len(acquired), "distinct": len(set(copied[acquired["index"]]))}


if __name__ == "__main__":
    sys.exit(main())
