"""Runs that are killed at random moments end exactly like runs that are not killed.

Each kind of run is first executed without interruption, and then again and again under SIGKILL, at
a moment drawn from its whole duration, pre-training included; not from the imports, during which
nothing is written.  Every third kill waits until a checkpoint is being written.  Results, picks and
the last weights must be bitwise equal.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from experiment.checkpoint import load_checkpoint
from tests.forked import ForkedCommand, fork_server

MAIN = Path(__file__).resolve().parents[2] / "main_al.py"
COMMON = "--al-budget 10 --al-nb-cycles 3 --epochs 6 --checkpoint-epochs 1 --device cpu"
PRE = "--add-unsupervised-pretraining --pretraining-method deepcluster --pretraining-epochs 4"
CEAL = "--add-ceal --ceal-th 0.7"
LP = "--add-lp --lp-step 2"
METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")
KINDS = [
    *(f"--al-method {method} {training}" for method in METHODS for training in ("", LP, CEAL)),
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


def kill_runs(num_kills: int, seed: int, kinds: Sequence[str] = KINDS) -> str:
    """Kill runs of these kinds, and describe the outcome.

    Raises AssertionError if a run fails or its result differs."""
    fork_server()  # before a run is timed
    shares = [num_kills // len(kinds) + (i < num_kills % len(kinds)) for i, _ in enumerate(kinds)]
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(os.cpu_count()) as executor:

        def kill_kind(i: int) -> tuple[int, int]:
            rng = random.Random(f"{seed}, {kinds[i]}")
            counts = kill_run(Path(root, str(i)), kinds[i], shares[i], rng)
            print(f"{counts[0]} kills, {kinds[i]}", file=sys.stderr, flush=True)
            return counts

        counts = list(executor.map(kill_kind, [i for i, share in enumerate(shares) if share]))
    kills, during_write = map(sum, zip(*counts, strict=True))
    return f"{kills} kills of {len(counts)} runs ({during_write} during a write), all bitwise equal"


def kill_run(root: Path, kind: str, num_kills: int, rng: random.Random) -> tuple[int, int]:
    """Kill one kind of run this often; returns the kills, and those of them during a write."""
    begin = time.monotonic()
    run_to_end(root / "whole", kind)
    seconds, kills, during_write = time.monotonic() - begin, 0, 0
    while kills < num_kills:
        process = start_run(root / "killed", kind)
        wait_for_kill(process, root / "killed", rng, seconds)
        has_ended = process.poll() is not None
        process.kill()
        process.wait()
        kills += not has_ended
        during_write += not has_ended and bool(temporary_checkpoints(root / "killed"))
        if has_ended:  # before its kill; the next one starts afresh
            assert process.returncode == 0, f"{kind}: {process.returncode}"
            assert_same_result(root, kind)
            (root / "killed").rename(root / f"ended{time.monotonic_ns()}")
    run_to_end(root / "killed", kind)
    assert_same_result(root, kind)
    return kills, during_write


def wait_for_kill(process: ForkedCommand, root: Path, rng: random.Random, seconds: float) -> None:
    """Wait until the moment at which the process is to be killed."""
    if rng.random() < 2 / 3:
        time.sleep(rng.uniform(0, seconds))
        return
    earliest = time.monotonic() + rng.uniform(0, seconds)
    while process.poll() is None:
        if time.monotonic() > earliest and temporary_checkpoints(root):
            return
        time.sleep(0.0002)  # a write takes some milliseconds


def temporary_checkpoints(root: Path) -> list[str]:
    """Checkpoints that are being written, or that were when their writer was killed."""
    names = []
    for folder in (root / "run", *root.glob("out/pretrained/*/*/*")):
        if folder.is_dir():
            names += [name for name in os.listdir(folder) if name.startswith(".checkpoint.pt.")]
    return names


def start_run(root: Path, kind: str) -> ForkedCommand:
    argv = f"{COMMON} {kind} --run-dir run".split()
    argv += ["--out", "out"] if "pretraining" in kind else []
    root.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "AL_LABELS_ROOT": str(root / "labels")}
    return ForkedCommand(MAIN, *argv, cwd=root, env=environment)


def run_to_end(root: Path, kind: str) -> str:
    """Returns the standard error."""
    process = start_run(root, kind)
    _, errors = process.communicate()
    assert process.returncode == 0, f"{kind}: {errors}"
    return errors


def assert_same_result(root: Path, kind: str) -> None:
    """Compares the run in root/killed with that in root/whole."""
    whole, killed = root / "whole" / "run", root / "killed" / "run"
    for name in ("results.csv", "acquired.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), f"{kind}: {name}"
    weights, killed_weights = (
        load_checkpoint(folder / "checkpoint.pt")["model"] for folder in (whole, killed)
    )
    for name, tensor in weights.items():
        assert torch.equal(tensor, killed_weights[name]), f"{kind}: {name} differs"
    assert not temporary_checkpoints(root / "killed"), f"{kind}: leftover temporary files"
