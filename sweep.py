"""Execute many runs of main_al.py: every combination of option values, or the runs of a file.

python sweep.py --al-method random coreset --split 0-4 --add-lp False True
python sweep.py scripts/studies/study_digits.yaml
"""

import sys

from utils import signals

PROGRAM = "sweep.py"

if __name__ == "__main__":  # before the imports that take seconds
    signals.exit_on_signal(PROGRAM)

from collections.abc import Sequence

from sweeps import threads
from utils.console import make_streams_safe, print_line
from utils.errors import UserError
from utils.memory import memory_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, positive_integer

USAGE = "%(prog)s [FILE.yaml] [options of the sweep] [options of main_al.py, with several values]"
DESCRIPTION = """Executes every combination of the values as a run of main_al.py. An option takes
several values, separated by blanks, or a range of whole numbers (0-4); options given here replace
those of the file. Finished runs are skipped, so the same command resumes after any interruption."""


def main(argv: Sequence[str] | None = None) -> int:
    make_streams_safe()
    early_parser = build_early_parser()
    early_args, _ = early_parser.parse_known_args(argv)
    jobs = early_args.jobs or len(early_args.gpus) or threads.count_cores()
    threads.limit_threads(jobs)
    from sweeps.cli import run_sweep  # imports torch, which now reads the number of threads

    try:
        with memory_errors_refused("lower --jobs, or split the sweep"):
            return run_sweep(build_parser(early_parser), argv, jobs)
    except UserError as error:
        return print_error(error, PROGRAM)
    except signals.StoppedBySignal as stopped:
        print_line(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.exit_code


def build_early_parser() -> OneLineErrorParser:
    """The options that must be known before torch is imported."""
    parser = OneLineErrorParser(PROGRAM, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--jobs",
        type=positive_integer,
        metavar="N",
        help="number of runs at once (default: number of GPUs given, else of CPU cores)",
    )
    add(
        "--gpus",
        type=lambda text: non_empty_text(text).split(","),
        default=[],
        metavar="0,1",
        help="GPUs to distribute the runs over; one run at a time on each, unless --jobs is larger",
    )
    return parser


def build_parser(early_parser: OneLineErrorParser) -> OneLineErrorParser:
    """All options of the sweep itself; sweeps.cli adds those of main_al.py."""
    parser = OneLineErrorParser(
        PROGRAM, usage=USAGE, description=DESCRIPTION, parents=[early_parser], allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        metavar="FILE.yaml",
        help="file with options, product and runs (docs/sweeps.md)",
    )
    add("--retry-failed", action="store_true", help="also repeat runs that failed before")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dry-run", action="store_true", help="print the commands that remain to be executed")
    add(
        "--dask",
        metavar="ADDRESS",
        type=non_empty_text,
        help="execute the runs on the workers of the Dask scheduler at this address",
    )
    add("--slurm", action="store_true", help="print a SLURM array script with one task per run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
