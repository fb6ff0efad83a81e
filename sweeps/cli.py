"""The command sweep.py after its early options are parsed: plan the runs, then execute or print
them."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
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
from sweeps.yaml_file import Setting, SweepAxis
from utils.console import pluralize, print_line
from utils.errors import UserError, WaitingForLabels
from utils.options.cli import OneLineErrorParser
from utils.options.schema import add_options
from utils.signals import raise_on_signal

MAIN_SCRIPT = Path(main_al.__file__).resolve()


def run_sweep(parser: OneLineErrorParser, argv: Sequence[str] | None, jobs: int) -> int:
    """Execute the command line and return the exit status.

    parser: with the options of sweep.py itself; jobs: number of runs at once.  Raises UserError for
    bad input, and StoppedBySignal for a signal."""
    sweep_options = {action.dest for action in parser._actions}
    add_options(parser, SCHEMA, multiple_values=True)
    args = parser.parse_args(argv)
    if args.dask and (args.jobs or args.gpus):
        raise UserError(
            "--jobs and --gpus have no effect with --dask: its workers have their own threads"
        )
    texts_by_name = {name: texts for name, texts in vars(args).items() if name not in sweep_options}
    planned = _plan_runs(args.file, texts_by_name)
    pending, failed_before = select_pending_runs(planned, args.retry_failed)
    finished_before = len(planned) - len(pending) - len(failed_before)
    if args.dry_run or args.slurm:
        _print_runs(args, pending)
        counts = _describe_counts(len(pending), "to do", finished_before, 0, 0, failed_before)
        print_line(f"{pluralize(len(planned), 'run')}: {counts}", "stderr")
        return 0
    failed, waiting = _execute_runs(args, pending, jobs)
    done = len(pending) - failed - waiting
    counts = _describe_counts(done, "finished", finished_before, waiting, failed, failed_before)
    print_line(f"{pluralize(len(planned), 'run')}: {counts}", "stderr")
    if failed or failed_before:
        return 1
    return WaitingForLabels.exit_code if waiting else 0


def _plan_runs(file: str | None, texts_by_name: dict[str, list[str]]) -> list[PlannedRun]:
    """The runs of the file, with the options of the command line in place of its own."""
    if not file and not texts_by_name:
        raise UserError("give a file, or options of main_al.py with several values; see --help")
    common: Setting = {}
    axes: list[SweepAxis] = []
    if file:
        common, axes = yaml_file.read_sweep_file(Path(file), options_by_name(SCHEMA))
    return plan.expand_grid(common, axes, plan.axes_from_command_line(texts_by_name))


def _print_runs(args: Namespace, runs: list[PlannedRun]) -> None:
    if args.slurm and runs:
        print_line(slurm.make_array_script(runs, MAIN_SCRIPT).rstrip("\n"))
    elif args.dry_run:
        python, main = _relative_path(sys.executable), _relative_path(MAIN_SCRIPT)
        for run in runs:
            print_line(shlex.join([python, main, *run.argv]))


def _relative_path(path: Path | str) -> str:
    """The path relative to the working folder if it lies below it, else unchanged."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def _execute_runs(args: Namespace, runs: list[PlannedRun], jobs: int) -> tuple[int, int]:
    """Execute the runs; returns how many failed and how many wait for human labels."""
    if not runs:
        return 0, 0
    with raise_on_signal():
        pool = DaskWorkerPool(args.dask) if args.dask else LocalWorkerPool(jobs, args.gpus)
        return SweepRunner(pool, runs, ProgressLine(len(runs))).run_all()


def _describe_counts(
    done: int,
    done_word: str,
    finished_before: int,
    waiting: int,
    failed: int,
    failed_before: list[PlannedRun],
) -> str:
    words = [f"{done} {done_word}"]
    if finished_before:
        words.append(f"{finished_before} finished before")
    if waiting:
        words.append(f"{waiting} wait for labels (repeat the command afterwards)")
    if failed:
        words.append(f"{failed} failed")
    if failed_before:
        hint = f"logs in {failed_before[0].log_path.parent}; --retry-failed repeats them"
        words.append(f"{len(failed_before)} failed before ({hint})")
    return ", ".join(words)
