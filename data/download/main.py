"""Install published data sets and generate their splits, or verify the files; see
install_datasets.sh."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # as in generate_splits.py

from utils import signals

PROGRAM_NAME = "install_datasets.sh"

if __name__ == "__main__":  # before the imports, which take seconds
    signals.exit_on_signal(PROGRAM_NAME)

from data import DATASETS, generate_splits
from data.active_dataset import default_data_root
from data.download.checksums import FILE_MISSING, FILE_PRESENT, MD5_WRONG, file_statuses
from data.download.http_fetch import is_url
from data.download.install import install_dataset
from utils.console import make_streams_safe, print_line
from utils.errors import SystemRefusal, UserError
from utils.files import os_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.schema import add_option

HELP_EPILOG = """
Archives and data sets that exist already, for example from torchvision, are used.  The same
command resumes an interrupted download.  Files that have the names of a data set but are not the
published ones are renamed, not deleted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    make_streams_safe()
    args = _parse_args(argv)
    try:
        with signals.raise_on_signal():
            if args.verify:
                return verify_datasets(args.datasets, args.data_root)
            # A data set that fails does not stop the others.
            return max(
                _install_and_split(name, args.data_root, args.mirror) for name in args.datasets
            )
    except signals.StoppedBySignal as stopped:
        print_line(f"{PROGRAM_NAME}: {stopped}", "stderr")
        return stopped.exit_code


def verify_datasets(names: list[str], root: str) -> int:
    """Read the files of data sets and print which are the published ones.

    -> the exit status: 0, or 1 where one is wrong, missing or cannot be read."""
    incomplete = []
    for name in names:
        try:
            with os_errors_refused(Path(root), "read"):
                statuses = file_statuses(root, DATASETS[name].published_md5, recompute=True)
                # The other files have no published MD5; only their archives have.
                list_files = DATASETS[name].list_files
                assert list_files is not None  # every published data set has it
                for path in list_files(root):
                    statuses.setdefault(path, FILE_PRESENT if path.exists() else FILE_MISSING)
        except UserError as error:
            return print_error(error, PROGRAM_NAME)
        for path, status in statuses.items():
            print_line(f"{status:8}{path}")
        if {MD5_WRONG, FILE_MISSING}.intersection(statuses.values()):
            incomplete.append(name)
    if incomplete:
        command = f"`sh data/{PROGRAM_NAME} {' '.join(incomplete)}`"
        return print_error(
            SystemRefusal(f"files of {', '.join(incomplete)} are missing or wrong; run {command}"),
            PROGRAM_NAME,
        )
    return 0


def _install_and_split(name: str, root: str, mirrors: list[str]) -> int:
    print_line(f"{name}: installing into {Path(root).resolve()}")
    try:
        install_dataset(name, DATASETS[name], root, mirrors)
    except UserError as error:
        return print_error(SystemRefusal(f"{name} could not be installed: {error}"), PROGRAM_NAME)
    return generate_splits.main(["--dataset", name, "--data-root", root])


def _make_parser(downloadable: list[str]) -> OneLineErrorParser:
    parser = OneLineErrorParser(
        prog=PROGRAM_NAME,
        description="Download data sets, check them, and generate five splits of 100 labels each.",
        epilog=HELP_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "datasets",
        nargs="*",
        metavar="dataset",
        help=f"data sets to install: {', '.join(downloadable)} (default: all)",
    )
    parser.add_argument(
        "--mirror",
        action="extend",
        nargs="+",
        default=[],
        metavar="URL|FOLDER",
        help="other sources of the archives (http://..., https://... or a folder), by their names "
        "or with the layout of a data root; tried in this order, before the published hosts",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="download nothing, but check each file and print whether it is right, wrong or "
        "missing (present: its MD5 is not published); exit status 1 if one is wrong or missing",
    )
    add_option(parser, generate_splits.DATA_ROOT)
    return parser


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    downloadable = [name for name, spec in DATASETS.items() if spec.list_archives]
    parser = _make_parser(downloadable)
    args = parser.parse_args(argv)
    args.data_root = getattr(args, "data_root", None) or default_data_root()
    for name in args.datasets:
        if name not in downloadable:
            parser.error(f"{name!r} cannot be downloaded; choose from {', '.join(downloadable)}")
    for mirror in args.mirror:
        if mirror in DATASETS:
            parser.error(f"--mirror: {mirror} is a data set; name data sets before --mirror")
        if not is_url(mirror) and not os.path.isdir(os.path.expanduser(mirror)):
            parser.error(f"--mirror: {mirror} is neither a URL (https://...) nor a folder")
    args.datasets = list(dict.fromkeys(args.datasets)) or downloadable
    return args


if __name__ == "__main__":
    sys.exit(main())
