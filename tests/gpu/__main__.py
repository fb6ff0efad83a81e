"""What runs on a GPU, checked against the CPU and timed: python -m tests.gpu [NAME ...]

Checks the results on a GPU against those on the CPU, then times the parts of a run on both and
prints one table.  Nothing is downloaded: images and features are made from a seed.  Exit status 1
if a check or a row failed, 2 without a GPU.
"""

import argparse
import csv
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = (
    "what",
    "images",
    "gpu",
    "rate",
    "share of peak",
    "cpu images",
    "cpu",
    "cpu rate",
    "ratio",
)
DRY_RUN_MATRIX_SIDE = 200


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.gpu", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "names", nargs="*", metavar="NAME", help="words of the checks and rows to run; default: all"
    )
    add("--csv", type=Path, help="write the table to this file too")
    add(
        "--wheels",
        type=Path,
        metavar="FOLDER",
        help="install all wheels of this folder first, for this command alone; needs no network",
    )
    add(
        "--dry-run",
        action="store_true",
        help="take the CPU for the GPU, and few images: shows that the checks and rows run",
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.wheels:
            from tests.gpu.packages import install_wheels

            try:
                install_wheels(args.wheels, Path(folder))
            except FileNotFoundError as error:
                parser.error(str(error))
        return run(args)


def run(args: argparse.Namespace) -> int:
    """The checks and the table; returns the exit status."""
    import torch  # only now: the wheels may contain what the project imports

    from experiment.environment import resolve_device
    from tests.gpu.checks import CHECKS
    from tests.gpu.timings import ROWS

    device = "cpu" if args.dry_run else "cuda"
    if not (args.dry_run or torch.cuda.is_available()):
        print("tests.gpu: no GPU that torch can use; --dry-run needs none", file=sys.stderr)
        return 2
    resolve_device(device)  # as a run does: with repeatable sums
    gpu = "dry run" if args.dry_run else torch.cuda.get_device_name()
    print(f"{gpu}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads", flush=True)
    begin, failures = time.perf_counter(), []
    for name, check in CHECKS.items():
        if is_chosen(name, args.names):
            images = min(check.images, check.dry_run) if args.dry_run else check.images
            failures += attempt(
                f"check {name}", lambda check=check, images=images: print(check.run(device, images))
            )
    table: list[dict[str, str]] = []
    chosen = [name for name in ROWS if is_chosen(name, args.names)]
    peaks = measure_peaks(device, args.dry_run) if chosen else {}
    for name in chosen:
        row = {"what": name}
        failures += attempt(
            name, lambda name=name, row=row: fill_row(row, ROWS[name], device, peaks, args.dry_run)
        )
        table.append(row)
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
    print_table(table)
    print(f"{len(failures)} failed, {time.perf_counter() - begin:.0f} s in all")
    return 1 if failures else 0


def is_chosen(name: str, words: list[str]) -> bool:
    """Whether a name contains one of the words; without words, every name is chosen."""
    return not words or any(word in name for word in words)


def attempt(name: str, action: Callable[[], None]) -> list[str]:
    """Run, and print how long it took; -> [name] if it failed, else []."""
    import torch

    begin = time.perf_counter()
    print(f"{name}: ", end="", flush=True)
    try:
        action()
    except Exception as error:  # the others go on
        print(f"FAILED: {type(error).__name__}: {str(error)[:300]}", flush=True)
        traceback.print_exc()
        return [name]
    finally:
        print(f"    [{time.perf_counter() - begin:.1f} s]", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return []


def measure_peaks(device: str, dry_run: bool) -> dict[bool, float]:
    """Operations per second of a product of large matrices, by whether they are of bfloat16."""
    from tests.gpu.timings import MATRIX_SIDE, time_matrix_product

    side = DRY_RUN_MATRIX_SIDE if dry_run else MATRIX_SIDE
    peaks = {bfloat16: time_matrix_product(device, bfloat16, side) for bfloat16 in (False, True)}
    words = ", ".join(
        f"{'bfloat16' if bfloat16 else 'float32 (TF32 on a GPU)'} {peak / 1e12:.0f} TFLOP/s"
        for bfloat16, peak in peaks.items()
    )
    print(f"peak, by a product of two {side} x {side} matrices: {words}", flush=True)
    return peaks


def fill_row(
    row: dict[str, str], entry: Any, device: str, peaks: dict[bool, float], dry_run: bool
) -> None:
    """Time an entry of ROWS on both devices, and write the results into the row."""
    on_gpu, on_cpu = entry.gpu, entry.cpu
    if dry_run:
        on_gpu, on_cpu = min(on_gpu, entry.dry_run), min(on_cpu, entry.dry_run)
    timing = entry.time(device, on_gpu)
    row |= {"images": f"{on_gpu:,}", "gpu": describe_seconds(timing.seconds)}
    if timing.images:
        row["rate"] = f"{timing.images / timing.seconds:,.0f}/s"
    if timing.flop:
        share = timing.flop / timing.seconds / peaks[timing.bfloat16]
        row["share of peak"] = f"{share:.0%}"
    if entry.cpu:
        own = entry.time("cpu", on_cpu)
        ratio = (own.seconds / on_cpu) / (timing.seconds / on_gpu)
        row |= {"cpu images": f"{on_cpu:,}", "cpu": describe_seconds(own.seconds)}
        row |= {"cpu rate": f"{own.images / own.seconds:,.0f}/s", "ratio": f"{ratio:.3g}"}
    print(", ".join(f"{name} {value}" for name, value in row.items() if name != "what"))


def describe_seconds(value: float) -> str:
    """With three digits, in seconds or milliseconds."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def print_table(table: list[dict[str, str]]) -> None:
    """As Markdown."""
    print(f"\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for row in table:
        print(f"| {' | '.join(row.get(column, '') for column in COLUMNS)} |")


if __name__ == "__main__":
    sys.exit(main())
