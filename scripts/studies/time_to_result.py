"""Time from images to a trained network with ten labels, and its accuracy, in several ways.

python scripts/studies/time_to_result.py DATA OUT.csv [--before CHECKOUT] [--seeds 0-9]
    [--processes N] [--minutes M] [--way 'NAME=OPTIONS' ...] [--only NAME ...]
python scripts/studies/time_to_result.py DATA OUT.csv --summary

DATA is an .npz file for --dataset arrays, a folder for --dataset folder, or "digits".  The ways:

before    SimCLR and 30 epochs with the code of CHECKOUT, an earlier one
simclr    the same with the code of this one
neighbor  the faster command of docs/ten_labels.md
encoder   features of the default encoder instead of pre-training

and those of --way, each with its own options.  The runs of a seed follow each other, so that all
ways have the same company on a shared machine.  Each run has one thread unless OMP_NUM_THREADS is
set, and new folders, so that nothing is reused.

OUT.csv gets a row when a run ends: seconds of the whole command by the clock and of the processor,
seconds of its stages by the clock, and the test accuracy.  Rows that it has already are kept, so a
stopped study resumes.  --minutes starts no run after that time.  --summary prints means, and the
differences to "before" on the same seeds with 95 % confidence intervals (t).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from experiment.environment import read_environments
from models import DEFAULT_ENCODER
from reports.paired_tests import difference_statistics
from scripts.studies.row_file import keys_of_rows, open_rows, read_rows
from utils.console import print_line

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("data", "way", "seed", "seconds", "cpu_seconds", "pretrain", "select", "train", "top1",
           "pseudo_accuracy", "processes", "threads", "processor")  # fmt: skip
COMMON = "--al-budget 10 --al-nb-cycles 1 --initial lp_coverage --add-lp --device cpu"
PRETRAINED = "--arch sized_cnn --add-unsupervised-pretraining --pretraining-method"
BEFORE = "before"
WAYS = {
    BEFORE: f"{PRETRAINED} simclr --epochs 30",
    "simclr": f"{PRETRAINED} simclr --epochs 30",
    "neighbor": f"{PRETRAINED} neighbor_simclr --epochs 10",
    "encoder": f"--encoder {DEFAULT_ENCODER} --epochs 30",
}
STAGES = ("pretrain", "select", "train")


class Task(NamedTuple):
    """A run: the way, its options, the checkout whose code it runs, and the seed."""

    way: str
    options: str
    checkout: Path
    seed: int


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    failed = 0 if arguments.summary else measure(arguments)
    print_summary(arguments.out)
    return int(failed > 0)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--before", type=Path, help="an earlier checkout of the project")
    parser.add_argument("--seeds", type=parse_seeds, default="0-9", help="default: 0-9")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none later")
    parser.add_argument("--way", action="append", default=[], metavar="NAME=OPTIONS")
    parser.add_argument("--only", nargs="+", help="the ways to run (default: all)")
    parser.add_argument("--summary", action="store_true", help="print a table of OUT.csv")
    return parser


def parse_seeds(text: str) -> range:
    """A number, or first and last of a range such as 0-9.  Raises ValueError."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def measure(arguments: argparse.Namespace) -> int:
    """Run what OUT.csv lacks, `arguments.processes` runs at a time; returns how many failed."""
    end = time.monotonic() + 60 * arguments.minutes
    done = keys_of_rows(arguments.out, ("data", "way", "seed"))
    name = Path(arguments.data).stem
    tasks = [t for t in make_tasks(arguments) if (name, t.way, str(t.seed)) not in done]

    failed = 0

    def run_in_time(task: Task) -> dict[str, object] | None:
        return run_task(task, arguments.data) if time.monotonic() < end else None

    with (
        open_rows(arguments.out, COLUMNS) as append_rows,
        ThreadPoolExecutor(arguments.processes) as pool,
    ):
        for finished in as_completed([pool.submit(run_in_time, task) for task in tasks]):
            try:
                row = finished.result()
            except RuntimeError as error:
                failed += 1
                print_line(str(error), "stderr")
                continue
            if row:
                row |= {"data": name, "processes": arguments.processes}
                append_rows([[row[column] for column in COLUMNS]])
    return failed


def make_tasks(arguments: argparse.Namespace) -> list[Task]:
    """All runs, those of a seed together."""
    ways = WAYS | dict(way.split("=", 1) for way in arguments.way)
    if not arguments.before:
        ways.pop(BEFORE)
    return [
        Task(way, options, arguments.before if way == BEFORE else ROOT, seed)
        for seed in arguments.seeds
        for way, options in ways.items()
        if not arguments.only or way in arguments.only
    ]


def data_options(data: str) -> list[str]:
    """The options of main_al.py that select the data."""
    if data == "digits":
        return ["--dataset", "digits"]
    kind = "folder" if Path(data).is_dir() else "arrays"
    return ["--dataset", kind, "--data-root", str(Path(data).resolve())]


def run_task(task: Task, data: str) -> dict[str, object]:
    """The values of COLUMNS of one run, which leaves no files behind.

    Raises RuntimeError, with the end of its output, for a run that fails."""
    variables = {"OMP_NUM_THREADS": "1", **os.environ}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "log"), "w") as log:
        command = [sys.executable, "main_al.py", *COMMON.split(), *task.options.split(),
                   *data_options(data), "--seed", str(task.seed), "--out", folder]  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=task.checkout, env=variables, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            tail = Path(folder, "log").read_text()[-500:]
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{tail}")
        (results,) = Path(folder).rglob("results.csv")
        *_, last = read_rows(results)
        stages = {r["stage"]: r["seconds"] for r in read_rows(results.with_name("timing.csv"))}
        environment = read_environments(results.with_name("environment.json"))[-1]
    return {
        "way": task.way,
        "seed": task.seed,
        "seconds": f"{seconds:.1f}",
        "cpu_seconds": f"{usage.ru_utime + usage.ru_stime:.1f}",
        **{stage: stages.get(stage, "") for stage in STAGES},
        "top1": last["top1"],
        "pseudo_accuracy": last["pseudo_accuracy"],
        "threads": environment["threads"],
        "processor": environment["device_name"],
    }


def print_summary(path: Path) -> None:
    """A row per data set and way; those of "before" on the same seeds are subtracted."""
    print_line("| data | way | n | accuracy | minus before (95 %) | seconds | cpu | of before |")
    print_line("| --- | --- | --- | --- | --- | --- | --- | --- |")
    table: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in read_rows(path):
        table.setdefault((row["data"], row["way"]), {})[row["seed"]] = row
    for (data, way), rows in table.items():
        before = table.get((data, BEFORE), {})
        shared = sorted(rows.keys() & before.keys())
        difference = share = ""
        if way != BEFORE and shared:
            pairs = [(rows[seed], before[seed]) for seed in shared]
            found = difference_statistics(
                np.array([float(mine["top1"]) - float(theirs["top1"]) for mine, theirs in pairs])
            )
            difference = f"{found['mean']:+.2f} ({found['t_low']:+.2f} to {found['t_high']:+.2f})"
            times = [float(m["cpu_seconds"]) / float(t["cpu_seconds"]) for m, t in pairs]
            share = f"{np.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
        values = {
            column: np.array([float(row[column]) for row in rows.values()])
            for column in ("top1", "seconds", "cpu_seconds")
        }
        accuracy = f"{values['top1'].mean():.2f}"
        if len(rows) > 1:
            accuracy += f" ± {values['top1'].std(ddof=1):.2f}"
        print_line(
            f"| {data} | {way} | {len(rows)} | {accuracy} | {difference} | "
            f"{np.median(values['seconds']):.0f} | {np.median(values['cpu_seconds']):.0f} | "
            f"{share} |"
        )


if __name__ == "__main__":
    sys.exit(main())
