"""Record the results of short runs, to show that a change of the code changes no number.

    python -m tests.record PROJECT OUT.json [--only WORD]
    python -m tests.record --compare A.json B.json

The first form executes the runs of RUNS, or those with WORD in their name, with the main_al.py of
the checkout PROJECT, each in its own process.  For each run it writes to OUT.json the SHA-256 of
results.csv, of acquired.csv and of the last weights in checkpoint.pt, and the rows of results.csv.
It takes about a quarter of an hour; the exit status is 1 if a run failed.  The second form prints
how many runs of two such files agree, and what differs in the others; the exit status is 1 if any
differs.  A run that failed, or that is missing in one file, does not agree.

Bytes can only be compared on one machine with one set of packages, so record both checkouts on the
same machine.  Data, splits and runs are in a folder that is removed afterwards; PROJECT is only
read.  PROJECT may be older than this file: options whose default has changed are given explicitly,
so that both checkouts execute the same.  Runs named "... killed" are killed by SIGKILL in their
second cycle and resumed.
"""

import argparse
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.archives import WRITERS

COMMON = "--device cpu --lr-rampdown-epochs 210 --al-budget 10 --al-nb-cycles 3"
SHORT = "--epochs 2"
DIGITS = "--arch small_cnn"  # for the runs without --dataset
LP = "--add-lp"
PRE = "--add-unsupervised-pretraining --pretraining-method deepcluster --pretraining-epochs 2"
SIMCLR = PRE.replace("deepcluster", "simclr")
# The steps and the threshold are chosen such that all of these runs have pseudo-labels.
CEAL = "--add-ceal --ceal-th 0.95 --lr 0.05 --steps-per-epoch 20"
FULL = f"{LP} --lp-mode full"
METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")
KILLED_EPOCHS = 12  # per cycle of the runs that are killed
LONG = f"--epochs {KILLED_EPOCHS} --steps-per-epoch 8 --checkpoint-epochs 1"
KILL_AFTER = (1, 2)  # cycle and epoch of the last checkpoint before the kill
KILLED = " killed"  # end of the names of these runs

RUNS = {
    f"{method} {name}": f"{SHORT} --al-method {method} {options}"
    for method in METHODS
    for name, options in {"labels": "", "lp": LP, "ceal": CEAL}.items()
}
RUNS |= {
    name: f"{SHORT} {options}"
    for name, options in {
        "finetuning": "--finetuning --al-method coreset",
        "val set": "--use-val-set --al-method coreset",
        "val set lp": f"--use-val-set {LP}",
        "pre": PRE,
        "pre lp": f"{PRE} {LP}",
        "pre ceal": f"{PRE} {CEAL} --al-method uncertainty_entropy",
        "pre clusters": f"{PRE} --pretraining-clusters 20 --pretraining-batch-size 64",
        "sobel": f"{PRE} --sobel",
        "ceal default": "--add-ceal --isL2 False --lr 0.05 --steps-per-epoch 20",
        "ceal repeat": f"{CEAL} --ceal-repeat --ceal-decay 0.01",
        "steps": "--steps-per-epoch 5 --al-method jlp",
        "steps lp": f"--steps-per-epoch 5 {LP}",
        "lp full": FULL,
        "lp certain": f"{LP} --lp-mode certain",
        "lp prob": f"{LP} --lp-mode prob --lp-percent 0.2",
        "lp uniform": f"{LP} --lp-mode uniform",
        "lp kl": f"{LP} --loss-type kl",
        "lp cW": f"{LP} --is-cW",
        "lp kl cW full": f"{FULL} --loss-type kl --is-cW",
        "lp pW off": f"{LP} --is-pW False",
        "lp by weight": f"{FULL} --weighted-unlabeled-batch --is-pW True",
        "lp by weight steps": f"{FULL} --weighted-unlabeled-batch --is-pW True --steps-per-epoch 5",
        "lp tau": f"{LP} --tau 0.2 --lp-step 2",
        "lp batch 64": f"{LP} --batch-size 64 --labeled-batch-size 16",
        "lp graph": f"{LP} --lp-k 20 --lp-gamma 1 --lp-alpha 0.9 --knn approx",
        "isL2 off": "--isL2 False --al-method coreset",
        "isL2 off lp": f"--isL2 False {LP}",
        "optimizer": "--lr 0.05 --lr-rampup 1 --initial-lr 0.01 --momentum 0 --nesterov False",
        "simclr lp": f"{SIMCLR} {LP} --initial lp_coverage --al-method lp_coverage",
        "simclr": f"{SIMCLR} --initial typiclust --al-method uherding",
        "fixmatch": "--add-fixmatch --al-method badge",
        "fixmatch adaptive": "--add-fixmatch --self-adaptive-threshold --al-method margin",
        "split, seed": "--split 1 --seed 3 --initial-size 25 --weight-decay 0",
        "cifar_cnn": "--dataset cifar10 --arch cifar_cnn --al-method coreset",
        "resnet18": "--dataset cifar10 --arch resnet18 --al-method uncertainty_entropy",
        **{f"{name} labels": f"--dataset {name} --al-method jlp --lp-k 10" for name in WRITERS},
        **{f"{name} lp": f"--dataset {name} {LP} --lp-k 10" for name in WRITERS},
    }.items()
}
RUNS |= {
    f"long {name}{ending}": f"{LONG} {options}"
    for name, options in {
        "plain": "--al-method coreset",
        "lp": LP,
        "ceal repeat": "--add-ceal --ceal-repeat --isL2 False --lr 0.05",
    }.items()
    for ending in ("", KILLED)
}


def main(argv: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="tests.record", description=description)
    parser.add_argument("files", nargs=2, metavar="FILE", help="PROJECT OUT.json, or A B")
    parser.add_argument("--compare", action="store_true", help="compare two recorded files")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="only runs with this in their name"
    )
    args = parser.parse_args(argv)
    if args.compare:
        return compare(*(json.loads(Path(file).read_text()) for file in args.files))
    project, out = (Path(file).resolve() for file in args.files)
    if not (project / "main_al.py").is_file():
        parser.error(f"there is no main_al.py in {project}")
    names = [name for name in RUNS if args.only in name]
    if not names:
        parser.error(f"no run has {args.only!r} in its name: {', '.join(RUNS)}")
    return record(project, out, names)


def record(project: Path, out: Path, names: list[str]) -> int:
    """Execute these runs and write their records; returns the exit status."""
    records: dict[str, dict[str, Any]] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # such that the folder is removed
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for write in WRITERS.values():
            write(root / "data")
        for number, name in enumerate(names, start=1):
            begin = time.perf_counter()
            records[name] = record_run(project, root, name)
            outcome = records[name].get("failed", "done")
            seconds = time.perf_counter() - begin
            print(f"{number}/{len(names)} {name}: {outcome} ({seconds:.1f} s)", flush=True)
            out.write_text(json.dumps(records, indent=1) + "\n")  # after every run
    failed = [name for name, run in records.items() if "failed" in run]
    print(f"{len(records) - len(failed)} of {len(records)} runs recorded in {out}")
    for name in [name for name in records if name.endswith(KILLED)]:
        uninterrupted = records.get(name.removesuffix(KILLED))
        if uninterrupted is None:  # by --only
            continue
        is_equal = not find_differences(uninterrupted, records[name])
        print(f"{name}: {'equal to' if is_equal else 'NOT equal to'} the run that was not killed")
    return 1 if failed else 0


def record_run(project: Path, root: Path, name: str) -> dict[str, Any]:
    """The record of one run, or {"failed": reason}."""
    out = root / "runs" / name.replace(" ", "_")
    out.mkdir(parents=True)
    argv = [*COMMON.split(), *RUNS[name].split(), "--out", str(out)]
    argv += DIGITS.split() if "--dataset" not in argv else []
    command = [sys.executable, str(project / "main_al.py"), *argv]
    variables = {"AL_DATA_ROOT": root / "data", "AL_LABELS_ROOT": root / "labels"}
    variables |= {"OMP_NUM_THREADS": 1}
    settings = {"cwd": out, "env": os.environ | {k: str(v) for k, v in variables.items()}}
    try:
        if name.endswith(KILLED):
            start_and_kill(command, out, settings)
        done = subprocess.run(command, capture_output=True, text=True, **settings)
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
        (results,) = out.rglob("split*/results.csv")
        return summarize_folder(results.parent)
    except (RuntimeError, ValueError, OSError) as error:
        return {"failed": str(error)}


def start_and_kill(command: list[str], out: Path, settings: dict[str, Any]) -> None:
    """Start a run and kill it in its second cycle, between two checkpoints.

    Raises RuntimeError if the run ended before."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet, **settings) as process:
        while process.poll() is None and last_checkpoint(out) < KILL_AFTER:
            time.sleep(0.01)
        process.kill()
    was_killed = process.returncode == -signal.SIGKILL
    if not was_killed or not KILL_AFTER <= last_checkpoint(out) < (1, KILLED_EPOCHS):
        position = f"{process.returncode}, {last_checkpoint(out)}"
        raise RuntimeError(f"not killed within a cycle: {position}")


def last_checkpoint(out: Path) -> tuple[int, int]:
    """Cycle and epoch of the last checkpoint; (0, 0) if there is none yet."""
    for path in out.rglob("split*/checkpoint.pt"):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        # Checkouts of different age have different layouts.
        state = checkpoint.get("state", checkpoint)
        return state["cycle"], state.get("progress", state)["epoch"]
    return 0, 0


def summarize_folder(folder: Path) -> dict[str, Any]:
    """Hashes of the results of a run, and the rows of results.csv."""
    checkpoint = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    text = (folder / "results.csv").read_text()
    return {
        "results.csv": hashlib.sha256(text.encode()).hexdigest(),
        "acquired.csv": hashlib.sha256((folder / "acquired.csv").read_bytes()).hexdigest(),
        "weights": tensors_digest(checkpoint["model"]),
        "rows": list(csv.DictReader(text.splitlines())),
    }


def tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def compare(first: dict[str, dict], second: dict[str, dict]) -> int:
    """Print how many runs agree and what differs in the others; 1 if any differs."""
    names = list(first | second)
    differences = {name: find_differences(first.get(name), second.get(name)) for name in names}
    differing = {name: words for name, words in differences.items() if words}
    print(f"{len(names) - len(differing)} of {len(names)} runs agree")
    for name, words in differing.items():
        print(f"{name}: {'; '.join(words)}")
    return 1 if differing or not names else 0


def find_differences(first: dict[str, Any] | None, second: dict[str, Any] | None) -> list[str]:
    """The differences between two records of a run in words; empty if they agree."""
    for run, which in ((first, "first"), (second, "second")):
        if run is None:
            return [f"not in the {which} file"]
        if "failed" in run:
            return [f"failed in the {which} file ({run['failed']})"]
    assert first is not None and second is not None
    parts = ("results.csv", "acquired.csv", "weights")
    differences = [part for part in parts if first[part] != second[part]]
    if len(first["rows"]) != len(second["rows"]):
        differences.append(f"{len(first['rows'])} rows, {len(second['rows'])}")
    for number, (a, b) in enumerate(zip(first["rows"], second["rows"], strict=False)):
        columns = [column for column in a | b if a.get(column) != b.get(column)]
        differences += [f"row {number} {c}: {a.get(c)}, {b.get(c)}" for c in columns]
    return differences


if __name__ == "__main__":
    sys.exit(main())
