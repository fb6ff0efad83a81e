"""Fetch data sets through torchvision and make their splits; called by install_datasets.sh."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as in generate_splits.py

from data import DATASETS, generate_splits
from data.problem import DATA_ROOT
from utils.errors import Refused
from utils.options.command import OneLineParser, complain
from utils.options.parse import add_option


def main(argv=None) -> int:
    downloadable = [name for name, spec in DATASETS.items() if spec.download]
    parser = OneLineParser(
        prog="install_datasets.sh",
        description="Download data sets, check them, and make five splits of 100 labels of each.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "datasets",
        nargs="*",
        metavar="dataset",
        help=f"of {', '.join(downloadable)} (default: all)",
    )
    add_option(parser, DATA_ROOT)
    args = parser.parse_args(argv)
    root = getattr(args, "data_root", None) or DATA_ROOT.derive(args)
    for name in args.datasets:
        if name not in downloadable:
            parser.error(f"{name!r} cannot be downloaded: choose from {', '.join(downloadable)}")
    for name in args.datasets or downloadable:
        print(f"{name}: into {Path(root).resolve()}", flush=True)
        try:
            DATASETS[name].download(root)
        except (OSError, RuntimeError) as error:
            return complain(Refused(f"{name} could not be downloaded: {error}"), parser.prog)
        status = generate_splits.main(["--dataset", name, "--data-root", root])
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
