"""sweep.py behind its own options: what it is given, as runs, and what becomes of them."""

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

import main_al
from experiment.config import SCHEMA
from sweeps import plan, slurm, yaml_file
from sweeps.dask_pool import DaskWorkerPool
from sweeps.plan import PlannedRun
from sweeps.pool import LocalWorkerPool
from sweeps.progress import ProgressLine
from sweeps.runner import SweepRunner, select_pending_runs
from sweeps.values import options_by_name
from utils.console import print_line
from utils.errors import UserError, WaitingForLabels
from utils.options.cli import OneLineErrorParser
from utils.options.schema import add_options
from utils.signals import raise_on_signal

MAIN_SCRIPT = Path(main_al.__file__).resolve()


def run_sweep(parser: OneLineErrorParser, argv, jobs: int) -> int:
    """Do what the command line asks for; -> the exit status.

    parser: with sweep.py's own options; jobs: how many runs at once.  Raises UserError for what the
    user can mend, and Stopped for a signal."""
    own = {action.dest for action in parser._actions}
    add_options(parser, SCHEMA, multiple_values=True)
    args = parser.parse_args(argv)
    if args.dask and (args.jobs or args.gpus):
        raise UserError(
            "--jobs and --gpus are not read with --dask: its workers have their threads"
        )
    given = {name: texts for name, texts in vars(args).items() if name not in own}
    planned = _plan_runs(args.file, given)
    runs, before = select_pending_runs(planned, args.retry_failed)
    over = len(planned) - len(runs) - len(before)
    if args.dry_run or args.slurm:
        _print_runs(args, runs)
        print_line(
            f"{len(planned)} runs: {_describe_counts(len(runs), 'to do', over, 0, 0, before)}",
            "stderr",
        )
        return 0
    failed, asking = _run_all(args, runs, jobs)
    done = len(runs) - failed - asking
    words = _describe_counts(done, "finished", over, asking, failed, before)
    print_line(f"{len(planned)} runs: {words}", "stderr")
    return 1 if failed or before else WaitingForLabels.exit_code if asking else 0


def _plan_runs(file: str | None, given: dict[str, list[str]]) -> list[PlannedRun]:
    """The runs of the file and of the options given."""
    if not file and not given:
        raise UserError("give a file, or options of main_al.py with several values; see --help")
    common, axes = (
        yaml_file.read_sweep_file(Path(file), options_by_name(SCHEMA)) if file else ({}, [])
    )
    return plan.expand_grid(common, axes, plan.axes_from_command_line(given))


def _print_runs(args: Namespace, runs: list[PlannedRun]) -> None:
    if args.slurm and runs:
        print_line(slurm.make_array_script(runs, MAIN_SCRIPT).rstrip("\n"))
    elif args.dry_run:
        python, main = _relative_path(sys.executable), _relative_path(MAIN_SCRIPT)
        for run in runs:
            print_line(shlex.join([python, main, *run.argv]))


def _relative_path(path: Path | str) -> str:
    """The path as one would type it here."""
    near = os.path.relpath(path)
    return str(path) if near.startswith(os.pardir) else near


def _run_all(args: Namespace, runs: list[PlannedRun], jobs: int) -> tuple[int, int]:
    """Do the runs; -> how many failed, and how many wait for a person's labels."""
    if not runs:
        return 0, 0
    with raise_on_signal():
        pool = DaskWorkerPool(args.dask) if args.dask else LocalWorkerPool(jobs, args.gpus)
        return SweepRunner(pool, runs, ProgressLine(len(runs))).run_all()


def _describe_counts(done, word: str, over, asking, failed: int, before: list[PlannedRun]) -> str:
    words = [f"{done} {word}"]
    if over:
        words.append(f"{over} finished before")
    if asking:
        words.append(f"{asking} wait for labels, for the same command after that")
    if failed:
        words.append(f"{failed} failed")
    if before:
        logs = f"{before[0].log_path.parent} says why, --retry-failed tries them again"
        words.append(f"{len(before)} failed before ({logs})")
    return ", ".join(words)
