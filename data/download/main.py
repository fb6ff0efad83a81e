"""Install published data sets and make their splits, or say what is there; see
install_datasets.sh."""

import os
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # as in generate_splits.py

from utils import signals

PROGRAM_NAME = "install_datasets.sh"

if __name__ == "__main__":  # before what takes seconds to import
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
Archives and data sets that are there already, torchvision's among them, are used as they are.  A
download that was interrupted goes on where it was when the same command is given again.  What has
a data set's name and is not the published file is renamed, not deleted.
"""


def main(argv=None) -> int:
    make_streams_safe()
    args = _parse_args(argv)
    try:
        with signals.raise_on_signal():
            if args.verify:
                return verify_datasets(args.datasets, args.data_root)
            # One that cannot be had does not keep the others.
            return max(
                _install_and_split(name, args.data_root, args.mirror) for name in args.datasets
            )
    except signals.StoppedBySignal as stopped:
        print_line(f"{PROGRAM_NAME}: {stopped}", "stderr")
        return stopped.exit_code


def verify_datasets(names: list[str], root: str) -> int:
    """Read the files of data sets and say which are the published ones; -> the exit status."""
    wrong = []
    for name in names:
        try:
            with os_errors_refused(Path(root), "read"):
                found = file_statuses(root, DATASETS[name].published_md5, recompute=True)
                for path in DATASETS[name].list_files(root):  # whose md5 only its archive has
                    found.setdefault(path, FILE_PRESENT if path.exists() else FILE_MISSING)
        except UserError as error:
            return print_error(error, PROGRAM_NAME)
        for path, state in found.items():
            print_line(f"{state:8}{path}")
        wrong += [name] if {MD5_WRONG, FILE_MISSING}.intersection(found.values()) else []
    if wrong:
        again = f"`sh data/{PROGRAM_NAME} {' '.join(wrong)}`"
        return print_error(
            SystemRefusal(f"not all there: {', '.join(wrong)}: run {again}"), PROGRAM_NAME
        )
    return 0


def _install_and_split(name: str, root: str, mirrors: list[str]) -> int:
    print_line(f"{name}: into {Path(root).resolve()}")
    try:
        install_dataset(name, DATASETS[name], root, mirrors)
    except UserError as error:
        return print_error(SystemRefusal(f"{name} could not be downloaded: {error}"), PROGRAM_NAME)
    return generate_splits.main(["--dataset", name, "--data-root", root])


def _make_parser(downloadable: list[str]) -> OneLineErrorParser:
    parser = OneLineErrorParser(
        prog=PROGRAM_NAME,
        description="Download data sets, check them, and make five splits of 100 labels of each.",
        epilog=HELP_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "datasets",
        nargs="*",
        metavar="dataset",
        help=f"of {', '.join(downloadable)} (default: all)",
    )
    parser.add_argument(
        "--mirror",
        action="extend",
        nargs="+",
        default=[],
        metavar="ADDRESS|FOLDER",
        help="where else the archives are (http://..., https://... or a folder), by their name or "
        "as they lie below a data root; tried in this order, before the published hosts",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="download nothing: read what is there, and say of each file whether it is right, "
        "wrong or missing (present: its md5 is not known); status 1 where one is wrong or missing",
    )
    add_option(parser, generate_splits.DATA_ROOT)
    return parser


def _parse_args(argv):
    downloadable = [name for name, spec in DATASETS.items() if spec.list_archives]
    parser = _make_parser(downloadable)
    args = parser.parse_args(argv)
    args.data_root = getattr(args, "data_root", None) or default_data_root()
    for name in args.datasets:
        if name not in downloadable:
            parser.error(f"{name!r} cannot be downloaded: choose from {', '.join(downloadable)}")
    for mirror in args.mirror:
        if mirror in DATASETS:
            parser.error(f"--mirror: {mirror} is a data set; they are named before --mirror")
        if not is_url(mirror) and not os.path.isdir(os.path.expanduser(mirror)):
            parser.error(f"--mirror: {mirror} is neither an address (https://...) nor a folder")
    args.datasets = list(dict.fromkeys(args.datasets)) or downloadable
    return args


if __name__ == "__main__":
    sys.exit(main())
