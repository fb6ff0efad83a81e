"""Many runs of main_al.py: the product of what is given, or of a file.

python sweep.py --al-method random coreset --split 0-4 --add-lp False True
python sweep.py scripts/studies/study_digits.yaml
"""

import sys

from utils import signals

PROGRAM = "sweep.py"

if __name__ == "__main__":  # before what takes seconds to import
    signals.leave_at_once(PROGRAM)

from sweeps import threads
from utils.console import say, spare_terminal
from utils.errors import UserError
from utils.options.cli import OneLineParser, complain
from utils.options.converters import not_empty, positive

USAGE = "%(prog)s [FILE.yaml] [options of the sweep] [options of main_al.py, with several values]"
ABOUT = """Every combination of the values, as runs of main_al.py. An option takes several values,
with blanks between them, or a range of whole numbers (0-4); what is given here replaces what is in
the file. What is finished is passed over; the same command goes on after any kill."""


def main(argv=None) -> int:
    spare_terminal()
    early = early_parser()
    asked, _ = early.parse_known_args(argv)
    jobs = asked.jobs or len(asked.gpus) or threads.cores()
    threads.share_out(jobs)
    from sweeps.cli import sweep  # torch, which takes its number of threads from there

    try:
        return sweep(build_parser(early), argv, jobs)
    except UserError as error:
        return complain(error, PROGRAM)
    except signals.Stopped as stopped:
        say(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.status


def early_parser() -> OneLineParser:
    """What must be known before torch is imported."""
    parser = OneLineParser(PROGRAM, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("--jobs", type=positive, metavar="N", help="runs at once (default: the cores, or GPUs)")
    add(
        "--gpus",
        type=lambda text: not_empty(text).split(","),
        default=[],
        metavar="0,1",
        help="the GPUs to share out, a run at a time on each, or jobs / GPUs",
    )
    return parser


def build_parser(early: OneLineParser) -> OneLineParser:
    """The options of the sweep; those of main_al.py come to it when they are known."""
    parser = OneLineParser(
        PROGRAM, usage=USAGE, description=ABOUT, parents=[early], allow_abbrev=False
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE.yaml", help="options, product and runs (README, Sweeps)")
    add("--retry-failed", action="store_true", help="also what failed before")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dry-run", action="store_true", help="print the commands that are left to do")
    add("--dask", metavar="ADDRESS", type=not_empty, help="on the workers of this Dask scheduler")
    add("--slurm", action="store_true", help="print an array script for SLURM, a task a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
