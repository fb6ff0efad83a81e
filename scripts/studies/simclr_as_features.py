"""Write what the graph of a run with SimCLR is built from, one file per seed.

python scripts/studies/simclr_as_features.py OUT.npz [OPTIONS OF main_al.py]

OUT.npz holds, for the training images, the pre-trained features, the pixels, the shares of nearest
neighbours of both that survive augmentation, and the classes; and the features and classes of the
test images.  A file that exists is kept.
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from data.augment import ImageStore
from experiment import setup
from experiment.config import SCHEMA
from experiment.static_features import make_static_features
from training.network_outputs import extract_outputs
from utils.console import print_line
from utils.errors import UserError
from utils.files import write_atomically
from utils.options.cli import print_error
from utils.options.schema import build_parser, parse_options

PROGRAM = "simclr_as_features.py"
OPTIONS = (  # of which the features depend on the pre-training alone
    *("--arch", "sized_cnn", "--al-nb-cycles", "1", "--al-budget", "10"),
    *("--initial", "lp_coverage", "--add-lp"),
    *("--add-unsupervised-pretraining", "--pretraining-method", "simclr"),
)


def main(argv: Sequence[str] | None = None) -> int:
    out, *rest = sys.argv[1:] if argv is None else argv
    if Path(out).exists():
        print_line(f"{out} exists; nothing to do")
        return 0
    parser = build_parser(SCHEMA, PROGRAM, (__doc__ or "").partition("\n")[0], "")
    try:
        arrays: dict[str, Any] = make_features(parse_options(parser, SCHEMA, [*OPTIONS, *rest]))
    except UserError as error:
        return print_error(error, PROGRAM)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(Path(out), content.getvalue())
    return 0


def make_features(options: Any) -> dict[str, np.ndarray]:
    """The arrays of the file, by name."""
    dataset, options, _ = setup.open_dataset_with_file_stats(options)
    with setup.open_run_folder(options, dataset) as run_folder:
        weights = setup.load_or_pretrain_weights(options, run_folder, dataset)
    assert weights is not None
    make_network = setup.network_factory(options, dataset)
    seed = setup.derive_split_seed(options)
    static = make_static_features(dataset, make_network, weights, seed, amp=False)
    network = make_network().eval()
    network.backbone.load_state_dict(weights)
    test_images, test_labels = dataset.eval_sets[""]
    assert isinstance(test_images, ImageStore)
    return {
        **{name: function().numpy() for name, function in static.items()},
        "labels": dataset.oracle.labels,
        "test_features": extract_outputs(network, test_images, amp=False)[0].numpy(),
        "test_labels": test_labels,
    }


if __name__ == "__main__":
    sys.exit(main())
