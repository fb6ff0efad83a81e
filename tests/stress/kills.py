"""Runs that are killed at random instants end as those that were not, to the bit.

Each kind of run is done once in peace and then again and again under SIGKILL, at an instant drawn
from the whole time that it takes, its imports and its pre-training included; every third kill waits
for a checkpoint that is being written.  Results, picks and the last weights must be the same.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from experiment.checkpoint import load_checkpoint

MAIN = Path(__file__).resolve().parents[2] / "main_al.py"
COMMON = "--al-budget 10 --al-nb-cycles 3 --epochs 6 --checkpoint-epochs 1 --device cpu"
PRE = "--add-unsupervised-pretraining --pretraining-method deepcluster --pretraining-epochs 4"
CEAL = "--add-ceal --ceal-th 0.7"
LP = "--add-lp --lp-step 2"
METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")
KINDS = [
    *(f"--al-method {method} {more}" for method in METHODS for more in ("", LP, CEAL)),
    "--finetuning --al-method coreset",
    f"--finetuning {LP}",
    "--use-val-set --al-method coreset",
    f"--use-val-set {LP}",
    f"{CEAL} --ceal-repeat",
    f"{CEAL} --ceal-repeat --finetuning",
    f"{PRE} {LP}",
    f"{PRE} {CEAL} --al-method uncertainty_entropy",
    "--initial lp_coverage --al-method badge",
    "--add-fixmatch --al-method margin",
    "--add-fixmatch --self-adaptive-threshold --al-method bald --head-dropout 0.3",
    f"{PRE.replace('deepcluster', 'simclr')} --initial typiclust --al-method lp_coverage {LP} "
    "--lp-views pretrained_features,pixels --lp-balance True",
]


def kills(number: int, seed: int, kinds=KINDS) -> str:
    """So many kills, spread over these kinds of runs; -> what there was to see.

    Raises AssertionError where a run came back different or failed."""
    shares = [number // len(kinds) + (i < number % len(kinds)) for i in range(len(kinds))]
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(os.cpu_count()) as pool:

        def one(i: int) -> tuple[int, int]:
            rng = random.Random(f"{seed}, {kinds[i]}")
            found = killed(Path(root, str(i)), kinds[i], shares[i], rng)
            print(f"{found[0]} kills, {kinds[i]}", file=sys.stderr, flush=True)
            return found

        found = list(pool.map(one, [i for i in range(len(kinds)) if shares[i]]))
    done, within = map(sum, zip(*found, strict=True))
    return f"{done} kills of {len(found)} runs ({within} within a write): each the same to the bit"


def killed(root: Path, kind: str, wanted: int, rng: random.Random) -> tuple[int, int]:
    """One kind of run, killed so often; -> how many kills, and how many within a write."""
    begin = time.monotonic()
    finish(root / "whole", kind)
    seconds, some, within = time.monotonic() - begin, 0, 0
    while some < wanted:
        process = start(root / "killed", kind)
        wait(process, root / "killed", rng, seconds)
        over = process.poll() is not None
        process.kill()
        process.wait()
        some += not over
        within += not over and bool(leftovers(root / "killed"))
        if over:  # it had the luck to get through; once more from the start
            assert process.returncode == 0, f"{kind}: {process.returncode}"
            same(root, kind)
            (root / "killed").rename(root / f"through{time.monotonic_ns()}")
    finish(root / "killed", kind)
    same(root, kind)
    return some, within


def wait(process, root: Path, rng: random.Random, seconds: float) -> None:
    """Until the instant of the kill."""
    if rng.random() < 2 / 3:
        time.sleep(rng.uniform(0, seconds))
        return
    after = time.monotonic() + rng.uniform(0, seconds)
    while process.poll() is None and not (time.monotonic() > after and leftovers(root)):
        time.sleep(0.0002)  # a write takes some milliseconds


def leftovers(root: Path) -> list[str]:
    """Checkpoints that are being written, or were when their writer died."""
    found = []
    for folder in (root / "run", *root.glob("out/pretrained/*/*/*")):
        if folder.is_dir():
            names = os.listdir(folder)
            found += [name for name in names if name.startswith(".checkpoint.pt.")]
    return found


def start(root: Path, kind: str) -> subprocess.Popen:
    words = f"{COMMON} {kind} --run-dir run".split()
    words += ["--out", "out"] if "pretraining" in kind else []
    root.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "AL_LABELS_ROOT": str(root / "labels")}
    with open(root / "errors", "a") as errors:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": errors}
        return subprocess.Popen([sys.executable, MAIN, *words], cwd=root, env=variables, **quiet)


def finish(root: Path, kind: str) -> None:
    process = start(root, kind)
    assert process.wait() == 0, f"{kind}: {(root / 'errors').read_text()}"


def same(root: Path, kind: str) -> None:
    a, b = root / "whole" / "run", root / "killed" / "run"
    for name in ("results.csv", "acquired.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), f"{kind}: {name} differs"
    models = [load_checkpoint(folder / "checkpoint.pt")["model"] for folder in (a, b)]
    for name, tensor in models[0].items():
        assert torch.equal(tensor, models[1][name]), f"{kind}: {name} differs"
    assert not leftovers(root / "killed"), f"{kind}: leftovers"
