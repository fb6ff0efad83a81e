"""Many runs of main_al.py: the product of what is given, or of a file.

python sweep.py --al-method random coreset --split 0-4 --add-lp False True
python sweep.py scripts/studies/study_digits.yaml
"""

import sys

from utils import signals

PROGRAM = "sweep.py"

if __name__ == "__main__":  # before what takes seconds to import
    signals.exit_on_signal(PROGRAM)

from sweeps import threads
from utils.console import make_streams_safe, print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, positive_integer

USAGE = "%(prog)s [FILE.yaml] [options of the sweep] [options of main_al.py, with several values]"
DESCRIPTION = """Every combination of the values, as runs of main_al.py. An option takes several values,
with blanks between them, or a range of whole numbers (0-4); what is given here replaces what is in
the file. What is finished is passed over; the same command goes on after any kill."""


def main(argv=None) -> int:
    make_streams_safe()
    early = build_early_parser()
    asked, _ = early.parse_known_args(argv)
    jobs = asked.jobs or len(asked.gpus) or threads.count_cores()
    threads.limit_threads(jobs)
    from sweeps.cli import run_sweep  # torch, which takes its number of threads from there

    try:
        return run_sweep(build_parser(early), argv, jobs)
    except UserError as error:
        return print_error(error, PROGRAM)
    except signals.StoppedBySignal as stopped:
        print_line(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.exit_code


def build_early_parser() -> OneLineErrorParser:
    """What must be known before torch is imported."""
    parser = OneLineErrorParser(PROGRAM, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--jobs",
        type=positive_integer,
        metavar="N",
        help="runs at once (default: the cores, or GPUs)",
    )
    add(
        "--gpus",
        type=lambda text: non_empty_text(text).split(","),
        default=[],
        metavar="0,1",
        help="the GPUs to share out, a run at a time on each, or jobs / GPUs",
    )
    return parser


def build_parser(early: OneLineErrorParser) -> OneLineErrorParser:
    """The options of the sweep; those of main_al.py come to it when they are known."""
    parser = OneLineErrorParser(
        PROGRAM, usage=USAGE, description=DESCRIPTION, parents=[early], allow_abbrev=False
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE.yaml", help="options, product and runs (README, Sweeps)")
    add("--retry-failed", action="store_true", help="also what failed before")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dry-run", action="store_true", help="print the commands that are left to do")
    add(
        "--dask",
        metavar="ADDRESS",
        type=non_empty_text,
        help="on the workers of this Dask scheduler",
    )
    add("--slurm", action="store_true", help="print an array script for SLURM, a task a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
