"""Install published data sets and make their splits, or say what is there; see
install_datasets.sh."""

import os
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # as in generate_splits.py

from utils import signals

PROGRAM = "install_datasets.sh"

if __name__ == "__main__":  # before what takes seconds to import
    signals.leave_at_once(PROGRAM)

from data import DATASETS, generate_splits
from data.active_dataset import DATA_ROOT
from data.download.checksums import MISSING, PRESENT, WRONG, states
from data.download.http_fetch import is_address
from data.download.install import install
from utils.console import say, spare_terminal
from utils.errors import Refused, UserError
from utils.files import told
from utils.options.cli import OneLineParser, complain
from utils.options.schema import add_option

EPILOG = """
Archives and data sets that are there already, torchvision's among them, are used as they are.  A
download that was interrupted goes on where it was when the same command is given again.  What has
a data set's name and is not the published file is renamed, not deleted.
"""


def main(argv=None) -> int:
    spare_terminal()
    args = _parsed(argv)
    try:
        with signals.stoppable():
            if args.verify:
                return verify(args.datasets, args.data_root)
            # One that cannot be had does not keep the others.
            return max(_set_up(name, args.data_root, args.mirror) for name in args.datasets)
    except signals.Stopped as stopped:
        say(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.status


def verify(names: list[str], root: str) -> int:
    """Read the files of data sets and say which are the published ones; -> the exit status."""
    wrong = []
    for name in names:
        try:
            with told(Path(root), "read"):
                found = states(root, DATASETS[name].published, afresh=True)
                for path in DATASETS[name].files(root):  # whose md5 only its archive has
                    found.setdefault(path, PRESENT if path.exists() else MISSING)
        except UserError as error:
            return complain(error, PROGRAM)
        for path, state in found.items():
            say(f"{state:8}{path}")
        wrong += [name] if {WRONG, MISSING}.intersection(found.values()) else []
    if wrong:
        again = f"`sh data/{PROGRAM} {' '.join(wrong)}`"
        return complain(Refused(f"not all there: {', '.join(wrong)}: run {again}"), PROGRAM)
    return 0


def _set_up(name: str, root: str, mirrors: list[str]) -> int:
    say(f"{name}: into {Path(root).resolve()}")
    try:
        install(name, DATASETS[name], root, mirrors)
    except UserError as error:
        return complain(Refused(f"{name} could not be downloaded: {error}"), PROGRAM)
    return generate_splits.main(["--dataset", name, "--data-root", root])


def _parser(downloadable: list[str]) -> OneLineParser:
    parser = OneLineParser(
        prog=PROGRAM,
        description="Download data sets, check them, and make five splits of 100 labels of each.",
        epilog=EPILOG,
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
    add_option(parser, DATA_ROOT)
    return parser


def _parsed(argv):
    downloadable = [name for name, spec in DATASETS.items() if spec.archives]
    parser = _parser(downloadable)
    args = parser.parse_args(argv)
    args.data_root = getattr(args, "data_root", None) or DATA_ROOT.derive(args)
    for name in args.datasets:
        if name not in downloadable:
            parser.error(f"{name!r} cannot be downloaded: choose from {', '.join(downloadable)}")
    for mirror in args.mirror:
        if mirror in DATASETS:
            parser.error(f"--mirror: {mirror} is a data set; they are named before --mirror")
        if not is_address(mirror) and not os.path.isdir(os.path.expanduser(mirror)):
            parser.error(f"--mirror: {mirror} is neither an address (https://...) nor a folder")
    args.datasets = list(dict.fromkeys(args.datasets)) or downloadable
    return args


if __name__ == "__main__":
    sys.exit(main())
