"""Generate balanced splits of a data set.

python data/generate_splits.py --dataset cifar10 --nr-splits 10 --split-size 1000
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a path, from any folder: replace this folder in the search path by the project's root,
    # because its modules would hide others of the same name.
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

# The options of all readers: they decide what is read.
GROUPS = tuple(dict.fromkeys(group for spec in DATASETS.values() for group in spec.groups()))
DATA_ROOT = options_of(DataOptions)[0]


def main(argv: Sequence[str] | None = None) -> int:
    make_streams_safe()
    try:
        _generate_splits(_make_parser().parse_args(argv))
    except (UserError, OSError) as error:
        return print_error(error)
    return 0


def _make_parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(
        description="Generate balanced splits of a data set.", allow_abbrev=False
    )
    parser.add_argument("--dataset", required=True, type=one_of(DATASETS), help=", ".join(DATASETS))
    parser.add_argument(
        "--nr-splits",
        type=positive_integer,
        default=5,
        help="number of splits, which are numbered from 0 (default: 5)",
    )
    parser.add_argument(
        "--split-size",
        type=positive_integer,
        default=100,
        help="number of labels in each split (default: 100)",
    )
    for option in (DATA_ROOT, *(one for group in GROUPS for one in options_of(group))):
        add_option(parser, option)
    return parser


def _generate_splits(args: argparse.Namespace) -> None:
    """Write the missing splits and print a line for each.  Raises UserError."""
    root = getattr(args, "data_root", None) or default_data_root()
    spec = DATASETS[args.dataset]
    loaded = spec.load_and_check(root, **_dataset_kwargs(args, spec))
    fingerprint = ""
    if spec.is_custom:
        fingerprint = loaded.fingerprint or images.data_fingerprint(loaded.train, loaded.test)
    folder = splits.split_folder_name(args.dataset, fingerprint)
    warnings = checksums.checksum_warnings(args.dataset, root, spec.published_md5)
    for line in (*warnings, *loaded.notes, *loaded.warnings):
        print_line(line)
    for number in range(args.nr_splits):
        path = splits.split_path(folder, args.split_size, number)
        is_new = splits.write_split(
            path, loaded.train.labels, args.split_size, number, loaded.row_numbers
        )
        print_line(f"{os.path.relpath(path)} {'written' if is_new else 'exists already'}")


def _dataset_kwargs(args: argparse.Namespace, spec: DatasetSpec) -> dict[str, OptionGroup]:
    """The groups of options that a data set's reader takes, by parameter.

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
