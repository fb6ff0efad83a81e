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

from data import DATASETS, splits
from utils import arguments, options
from utils.errors import UserError


def main(argv=None) -> int:
    parser = arguments.OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--dataset", required=True, type=arguments.one_of(list(DATASETS)), help=", ".join(DATASETS)
    )
    parser.add_argument(
        "--nr-splits", type=arguments.positive, default=5, help="splits 0 .. n-1 (default: 5)"
    )
    parser.add_argument(
        "--split-size", type=arguments.positive, default=100, help="labels in each (default: 100)"
    )
    parser.add_argument("--data-root", **options.DATA_ROOT)
    try:
        args = parser.parse_args(argv)
        train, _ = DATASETS[args.dataset].load(args.data_root or options.default_data_root())
        for number in range(args.nr_splits):
            path = splits.path_of(args.dataset, args.split_size, number)
            made = splits.write(path, train.labels, args.split_size, number)
            print(f"{os.path.relpath(path)} {'written' if made else 'is there already'}")
    except (UserError, OSError) as error:
        return arguments.complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
