"""sweep.py behind its own options: what it is given, as runs, and what becomes of them."""

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

import main_al
from experiment.config import declared
from sweeps import plan, slurm, yaml_file
from sweeps.dask_pool import DaskPool
from sweeps.plan import Planned
from sweeps.pool import LocalPool
from sweeps.progress import Progress
from sweeps.runner import Drive, sorted_out
from sweeps.values import names
from utils.console import say
from utils.errors import UserError, Waiting
from utils.options.cli import OneLineParser
from utils.options.schema import add_options
from utils.signals import stoppable

MAIN = Path(main_al.__file__).resolve()


def sweep(parser: OneLineParser, argv, jobs: int) -> int:
    """Do what the command line asks for; -> the exit status.

    parser: with sweep.py's own options; jobs: how many runs at once.  Raises UserError for what the
    user can mend, and Stopped for a signal."""
    own = {action.dest for action in parser._actions}
    add_options(parser, declared(), several=True)
    args = parser.parse_args(argv)
    if args.dask and (args.jobs or args.gpus):
        raise UserError(
            "--jobs and --gpus are not read with --dask: its workers have their threads"
        )
    given = {name: texts for name, texts in vars(args).items() if name not in own}
    planned = _planned(args.file, given)
    runs, before = sorted_out(planned, args.retry_failed)
    over = len(planned) - len(runs) - len(before)
    if args.dry_run or args.slurm:
        _show(args, runs)
        say(f"{len(planned)} runs: {_counts(len(runs), 'to do', over, 0, 0, before)}", "stderr")
        return 0
    failed, asking = _done(args, runs, jobs)
    done = len(runs) - failed - asking
    words = _counts(done, "finished", over, asking, failed, before)
    say(f"{len(planned)} runs: {words}", "stderr")
    return 1 if failed or before else Waiting.status if asking else 0


def _planned(file: str | None, given: dict[str, list[str]]) -> list[Planned]:
    """The runs of the file and of the options given."""
    if not file and not given:
        raise UserError("give a file, or options of main_al.py with several values; see --help")
    common, axes = yaml_file.read(Path(file), names(declared())) if file else ({}, [])
    return plan.product(common, axes, plan.from_command_line(given))


def _show(args: Namespace, runs: list[Planned]) -> None:
    if args.slurm and runs:
        say(slurm.script(runs, MAIN).rstrip("\n"))
    elif args.dry_run:
        python, main = _near(sys.executable), _near(MAIN)
        for run in runs:
            say(shlex.join([python, main, *run.words]))


def _near(path: Path | str) -> str:
    """The path as one would type it here."""
    near = os.path.relpath(path)
    return str(path) if near.startswith(os.pardir) else near


def _done(args: Namespace, runs: list[Planned], jobs: int) -> tuple[int, int]:
    """Do the runs; -> how many failed, and how many wait for a person's labels."""
    if not runs:
        return 0, 0
    with stoppable():
        pool = DaskPool(args.dask) if args.dask else LocalPool(jobs, args.gpus)
        return Drive(pool, runs, Progress(len(runs))).all()


def _counts(done, word: str, over, asking, failed: int, before: list[Planned]) -> str:
    words = [f"{done} {word}"]
    if over:
        words.append(f"{over} finished before")
    if asking:
        words.append(f"{asking} wait for labels, for the same command after that")
    if failed:
        words.append(f"{failed} failed")
    if before:
        logs = f"{before[0].log.parent} says why, --retry-failed tries them again"
        words.append(f"{len(before)} failed before ({logs})")
    return ", ".join(words)
