"""Make balanced splits of a data set.

python data/generate_splits.py --dataset cifar10 --nr-splits 10 --split-size 1000
"""

import os
import sys
from pathlib import Path

if not __package__:
    # Run as a path, from any folder: the project's root takes the place of this folder, whose
    # modules would otherwise hide others of their name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import DATASETS, images, splits
from data.active_dataset import DATA_ROOT
from data.download import checksums
from utils.console import say, spare_terminal
from utils.errors import UserError
from utils.options.cli import OneLineParser, complain
from utils.options.converters import one_of, positive
from utils.options.schema import add_option

# Of the rows that have some: they say what is read.
OPTIONS = dict.fromkeys(option for spec in DATASETS.values() for option in spec.options)


def main(argv=None) -> int:
    spare_terminal()
    parser = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dataset", required=True, type=one_of(DATASETS), help=", ".join(DATASETS))
    parser.add_argument(
        "--nr-splits", type=positive, default=5, help="splits 0 .. n-1 (default: 5)"
    )
    parser.add_argument(
        "--split-size", type=positive, default=100, help="labels in each (default: 100)"
    )
    for option in (DATA_ROOT, *OPTIONS):
        add_option(parser, option)
    try:
        args = parser.parse_args(argv)
        root = getattr(args, "data_root", None) or DATA_ROOT.derive(args)
        spec = DATASETS[args.dataset]
        found = spec.read(root, **_options(args, spec))
        fingerprint = images.fingerprint(found.train, found.test) if spec.own else ""
        folder = splits.folder_name(args.dataset, fingerprint)
        for notice in checksums.notices(args.dataset, root, spec.published):
            print(notice)
        for number in range(args.nr_splits):
            path = splits.path_of(folder, args.split_size, number)
            made = splits.write(path, found.train.labels, args.split_size, number)
            say(f"{os.path.relpath(path)} {'written' if made else 'is there already'}")
    except (UserError, OSError) as error:
        return complain(error)
    return 0


def _options(args, spec) -> dict:
    """The options of a data set, as keyword arguments of its reading."""
    given = [option for option in OPTIONS if option.name in args]
    for option in given:
        if option not in spec.options:
            raise UserError(f"--dataset {args.dataset} does not read {option.flag}")
    return {option.keyword: getattr(args, option.name) for option in given}


if __name__ == "__main__":
    sys.exit(main())
