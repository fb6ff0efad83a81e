"""What short runs of a checkout give, to show that a change of the code moved no number.

    python -m tests.record PROJECT OUT.json [--only WORD]
    python -m tests.record --compare A.json B.json

The first form does every run of RUNS, or those with WORD in the name, with the main_al.py of the
checkout PROJECT, each in a process, and writes to OUT.json for each run the sha256 of results.csv,
of acquired.csv and of the last weights in checkpoint.pt, and the rows of results.csv; exit status
1 if a run failed.  It takes about a quarter of an hour.  The second form prints how many runs of
two such files agree, and of each other run what differs; exit status 1 if there is one.  A run that
failed, or that one file lacks, does not agree.

The same bytes come only from one machine with one set of packages: record both checkouts on one.
Data, splits and runs are in a folder that is removed afterwards; PROJECT is only read.  Options
whose default has changed are given explicitly, so that the two checkouts are asked for the same.
The runs named "... killed" are killed by SIGKILL within the second cycle and resumed.
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
from pathlib import Path

import torch

from tests.archives import WRITERS

COMMON = "--device cpu --lr-rampdown-epochs 210 --al-budget 10 --al-nb-cycles 3"
SHORT = "--epochs 2"
DIGITS = "--arch small_cnn"  # runs that name no data set
LP = "--add-lp"
PRE = "--add-unsupervised-pretraining --pretraining-method deepcluster --pretraining-epochs 2"
SIMCLR = PRE.replace("deepcluster", "simclr")
# So many steps and so high a threshold that there are pseudo-labels in all of these runs.
CEAL = "--add-ceal --ceal-th 0.95 --lr 0.05 --steps-per-epoch 20"
FULL = f"{LP} --lp-mode full"
METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")
EPOCHS = 12  # of the runs that are killed
LONG = f"--epochs {EPOCHS} --steps-per-epoch 8 --checkpoint-epochs 1"
KILL_AT = (1, 2)  # cycle and epoch of the checkpoint after which it happens
KILLED = " killed"

RUNS = {
    f"{method} {name}": f"{SHORT} --al-method {method} {words}"
    for method in METHODS
    for name, words in {"labels": "", "lp": LP, "ceal": CEAL}.items()
}
RUNS |= {
    name: f"{SHORT} {words}"
    for name, words in {
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
    f"long {name}{end}": f"{LONG} {words}"
    for name, words in {
        "plain": "--al-method coreset",
        "lp": LP,
        "ceal repeat": "--add-ceal --ceal-repeat --isL2 False --lr 0.05",
    }.items()
    for end in ("", KILLED)
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="tests.record", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs=2, metavar="FILE", help="PROJECT OUT.json, or A B")
    parser.add_argument("--compare", action="store_true", help="compare two recorded files")
    parser.add_argument("--only", default="", metavar="WORD", help="only runs with it in the name")
    args = parser.parse_args(argv)
    if args.compare:
        return compare(*(json.loads(Path(file).read_text()) for file in args.files))
    project, out = (Path(file).resolve() for file in args.files)
    if not (project / "main_al.py").is_file():
        parser.error(f"there is no main_al.py in {project}")
    chosen = [name for name in RUNS if args.only in name]
    if not chosen:
        parser.error(f"no run has {args.only!r} in its name: {', '.join(RUNS)}")
    return record(project, out, chosen)


def record(project: Path, out: Path, names: list[str]) -> int:
    """Do these runs and write what they give."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for write in WRITERS.values():
            write(root / "data")
        for number, name in enumerate(names, start=1):
            begin = time.perf_counter()
            found[name] = one_run(project, root, name)
            outcome = found[name].get("failed", "done")
            seconds = time.perf_counter() - begin
            print(f"{number}/{len(names)} {name}: {outcome} ({seconds:.1f} s)", flush=True)
            out.write_text(json.dumps(found, indent=1) + "\n")  # as it grows
    failed = [name for name, run in found.items() if "failed" in run]
    print(f"{len(found) - len(failed)} of {len(found)} runs recorded in {out}")
    for name in [name for name in found if name.endswith(KILLED)]:
        twin = name.removesuffix(KILLED)
        same = twin in found and not differences(found[twin], found[name])
        print(f"{name}: {'as' if same else 'NOT as'} the run that was not killed")
    return 1 if failed else 0


def one_run(project: Path, root: Path, name: str) -> dict:
    """What one run gives, or {"failed": why}."""
    out = root / "runs" / name.replace(" ", "_")
    out.mkdir(parents=True)
    words = [*COMMON.split(), *RUNS[name].split(), "--out", str(out)]
    words += DIGITS.split() if "--dataset" not in words else []
    command = [sys.executable, str(project / "main_al.py"), *words]
    variables = {"AL_DATA_ROOT": root / "data", "AL_LABELS_ROOT": root / "labels"}
    variables |= {"OMP_NUM_THREADS": 1}
    settings = {"cwd": out, "env": os.environ | {k: str(v) for k, v in variables.items()}}
    try:
        if name.endswith(KILLED):
            kill(command, out, settings)
        done = subprocess.run(command, capture_output=True, text=True, **settings)
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
        (results,) = out.rglob("split*/results.csv")
        return contents(results.parent)
    except (RuntimeError, ValueError, OSError) as error:
        return {"failed": str(error)}


def kill(command: list[str], out: Path, settings: dict) -> None:
    """Begin a run and kill it within its second cycle, between two checkpoints.

    Raises RuntimeError where the run was over before."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet, **settings) as process:
        while process.poll() is None and reached(out) < KILL_AT:
            time.sleep(0.01)
        process.kill()
    if process.returncode != -signal.SIGKILL or not KILL_AT <= reached(out) < (1, EPOCHS):
        raise RuntimeError(f"not killed within a cycle: {process.returncode}, {reached(out)}")


def reached(out: Path) -> tuple[int, int]:
    """The cycle and the epoch of the last checkpoint; (0, 0) before the first."""
    for path in out.rglob("split*/checkpoint.pt"):
        held = torch.load(path, map_location="cpu", weights_only=True)
        held = held.get("state", held)
        return held["cycle"], held.get("progress", held)["epoch"]  # it was apart at first
    return 0, 0


def contents(folder: Path) -> dict:
    """What a run folder holds, as hashes; and the rows of results.csv."""
    held = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    text = (folder / "results.csv").read_text()
    return {
        "results.csv": hashlib.sha256(text.encode()).hexdigest(),
        "acquired.csv": hashlib.sha256((folder / "acquired.csv").read_bytes()).hexdigest(),
        "weights": digest(held["model"]),
        "rows": list(csv.DictReader(text.splitlines())),
    }


def digest(tensors: dict) -> str:
    """sha256 of names, types, shapes and bytes in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def compare(first: dict, second: dict) -> int:
    """Print how many runs agree and what differs in the others; 1 if any differs."""
    names = list(first | second)
    found = {name: differences(first.get(name), second.get(name)) for name in names}
    differing = {name: what for name, what in found.items() if what}
    print(f"{len(names) - len(differing)} of {len(names)} runs agree")
    for name, what in differing.items():
        print(f"{name}: {'; '.join(what)}")
    return 1 if differing or not names else 0


def differences(first: dict | None, second: dict | None) -> list[str]:
    """What two records of a run differ in, in words; none where they agree."""
    for run, which in ((first, "first"), (second, "second")):
        if run is None:
            return [f"not in the {which} file"]
        if "failed" in run:
            return [f"failed in the {which} file ({run['failed']})"]
    parts = ("results.csv", "acquired.csv", "weights")
    found = [part for part in parts if first[part] != second[part]]
    if len(first["rows"]) != len(second["rows"]):
        found.append(f"{len(first['rows'])} rows, {len(second['rows'])}")
    for number, (a, b) in enumerate(zip(first["rows"], second["rows"], strict=False)):
        columns = [column for column in a | b if a.get(column) != b.get(column)]
        found += [f"row {number} {c}: {a.get(c)}, {b.get(c)}" for c in columns]
    return found


if __name__ == "__main__":
    sys.exit(main())
