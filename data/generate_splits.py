"""Make balanced splits of a data set.

python data/generate_splits.py --dataset cifar10 --nr-splits 10 --split-size 1000
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:
    # Run as a path, from any folder: the project's root takes the place of this folder, whose
    # modules would otherwise hide others of their name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import DATASETS, images, splits
from data.active_dataset import DataOptions, default_data_root
from data.download import checksums
from data.spec import DatasetSpec
from utils.console import make_streams_safe, print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import one_of, positive_integer
from utils.options.option import OptionGroup, group_parameters, options_of
from utils.options.schema import add_option

# The options of the data sets' readers, which decide what is read.
GROUPS = tuple(dict.fromkeys(group for spec in DATASETS.values() for group in spec.groups()))
DATA_ROOT = options_of(DataOptions)[0]


def main(argv=None) -> int:
    make_streams_safe()
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dataset", required=True, type=one_of(DATASETS), help=", ".join(DATASETS))
    parser.add_argument(
        "--nr-splits", type=positive_integer, default=5, help="splits 0 .. n-1 (default: 5)"
    )
    parser.add_argument(
        "--split-size", type=positive_integer, default=100, help="labels in each (default: 100)"
    )
    for option in (DATA_ROOT, *(one for group in GROUPS for one in options_of(group))):
        add_option(parser, option)
    try:
        args = parser.parse_args(argv)
        root = getattr(args, "data_root", None) or default_data_root()
        spec = DATASETS[args.dataset]
        found = spec.load_and_check(root, **_dataset_kwargs(args, spec))
        fingerprint = images.data_fingerprint(found.train, found.test) if spec.is_custom else ""
        folder = splits.split_folder_name(args.dataset, fingerprint)
        for notice in checksums.checksum_warnings(args.dataset, root, spec.published_md5):
            print(notice)
        for number in range(args.nr_splits):
            path = splits.split_path(folder, args.split_size, number)
            made = splits.write_split(path, found.train.labels, args.split_size, number)
            print_line(f"{os.path.relpath(path)} {'written' if made else 'is there already'}")
    except (UserError, OSError) as error:
        return print_error(error)
    return 0


def _dataset_kwargs(args: argparse.Namespace, spec: DatasetSpec) -> dict[str, OptionGroup]:
    """The options of a data set's reader, as keyword arguments.

    Raises UserError for an option that this data set does not read."""
    for group in GROUPS:
        for option in options_of(group):
            if option.name in args and group not in spec.groups():
                raise UserError(f"--dataset {args.dataset} does not read {option.flag}")
    return {
        name: group(**{o.name: getattr(args, o.name) for o in options_of(group) if o.name in args})
        for name, group in group_parameters(spec.load).items()
    }


if __name__ == "__main__":
    sys.exit(main())
