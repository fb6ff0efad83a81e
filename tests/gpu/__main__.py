"""What runs on a GPU, checked against the CPU and timed: python -m tests.gpu [ROW ...] [--csv F]

Checks that results on the GPU agree with the CPU's, then times the parts of a run on both devices
and prints one table.  Nothing is downloaded: images and features are synthetic, made from a seed.
Rows can be chosen by a word of their name.  Exit status 1 if a check or a row failed, 2 without a
GPU.  Sizes that a CPU would need minutes for are timed on the GPU alone.
"""

import argparse
import contextlib
import csv
import io
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import main_al
from al_methods import select
from data.augment import ImageStore
from models import create_model
from semisup.label_propagation import propagate
from training.epoch import train_epoch
from training.learner import create_optimizer
from training.losses import Batch, WeightedLoss
from training.network_outputs import extract_outputs
from unsup import simclr
from unsup.shared_options import PretrainingLoopOptions
from utils.diffusion import diffuse
from utils.graph import affinity
from utils.graph.nearest_neighbors import exact_neighbors
from utils.torch_faiss import faiss

CLASSES = 10
CIFAR_CNN_STEP_FLOP = 3 * 2 * 731_000_000  # per image: multiply-adds forward, twice that backward


def make_features(n: int, dim: int, device: str) -> torch.Tensor:
    """Features of unit length in CLASSES overlapping clusters: (n, dim) float32."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, dim)).astype(np.float32)
    rows = centers[np.arange(n) % CLASSES]
    rows = rows + 1.5 * rng.normal(size=(n, dim)).astype(np.float32)
    return torch.nn.functional.normalize(torch.from_numpy(rows)).to(device)


def make_labels(n: int, per_class: int) -> np.ndarray:
    """(n,) int64 labels of the first images of each cluster, -1 elsewhere."""
    labels = np.full(n, -1)
    labels[: CLASSES * per_class] = np.arange(CLASSES * per_class) % CLASSES
    return labels


# ---- Checks: the GPU's results beside the CPU's


def check_neighbors() -> str:
    x = make_features(20_000, 128, "cpu")
    expected = exact_neighbors(x, 51)[1]
    found = exact_neighbors(x.cuda(), 51)[1].cpu()
    same = (found[:, :, None] == expected[:, None]).any(dim=2).float().mean()
    assert same > 0.999, f"only {same:.4f} of the neighbours agree"
    return f"{same:.5f} of the neighbours agree, faiss sees {faiss.get_num_gpus()} GPUs"


def check_affinity() -> str:
    x = make_features(5_000, 64, "cpu")
    expected, found = affinity(x, 20), affinity(x.cuda(), 20)
    difference = np.abs(found.cpu().to_dense().numpy() - expected.toarray()).max()
    assert difference < 1e-4, f"entries differ by {difference:.1e}"
    return f"largest difference of an entry {difference:.1e}"


def check_diffusion() -> str:
    x = make_features(5_000, 64, "cpu")
    y = np.random.default_rng(0).random((5_000, 20)).astype(np.float32)
    expected = diffuse(affinity(x, 20), y)
    found = diffuse(affinity(x.cuda(), 20), torch.from_numpy(y).cuda()).cpu().numpy()
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < 1e-4, f"solutions differ by {difference:.1e}"
    return f"largest relative difference {difference:.1e}"


def check_propagation() -> str:
    x, labels = make_features(5_000, 64, "cpu"), make_labels(5_000, 2)
    expected = propagate(x, labels, CLASSES, k=20)
    found = propagate(x.cuda(), labels, CLASSES, k=20)
    same = float((found.labels == expected.labels).mean())
    assert same > 0.999, f"only {same:.4f} of the labels agree"
    return f"{same:.4f} of the labels agree"


def check_methods() -> str:
    x, labels, parts = make_features(3_000, 64, "cpu"), make_labels(3_000, 2), []
    probs = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(CLASSES), 3_000)).float()
    for method in ("coreset", "jlp", "lp_coverage", "maxherding", "probcover", "typiclust", "badge",
                   "uherding", "uncertainty_entropy", "margin"):  # fmt: skip
        picks = [
            select(
                method,
                features=x.to(device),
                pretrained_features=x.to(device),
                probs=probs.to(device),
                labels=labels,
                budget=20,
                rng=np.random.default_rng(0),
                num_classes=CLASSES,
            )
            for device in ("cpu", "cuda")
        ]
        assert len(set(picks[1].tolist())) == 20 and (labels[picks[1]] < 0).all(), method
        parts.append(f"{method} {len(np.intersect1d(*picks))}")
    return "of 20 picks the same: " + ", ".join(parts)


def check_network() -> str:
    torch.manual_seed(0)
    network, images = create_model("cifar_cnn", CLASSES).eval(), make_images(64, "cpu")
    batch = images.plain_batch(slice(None))
    with torch.no_grad():
        expected, _ = network(batch)
        found, _ = network.cuda()(batch.cuda())
    difference = float((found.cpu() - expected).abs().max())
    assert difference < 5e-3, f"logits differ by {difference:.1e}"
    return f"largest difference of a logit {difference:.1e}"


def check_runs() -> str:
    """Runs of main_al.py on the GPU, in this process; each is then resumed for one more cycle."""
    plain = "--al-budget 10 --epochs 3 --steps-per-epoch 4 --device cuda"
    kinds = {
        "lp": "--add-lp --al-method jlp",
        "amp": "--add-lp --amp",
        "ceal": "--add-ceal --ceal-th 1 --al-method badge",
        "fixmatch": "--add-fixmatch --mu 2 --b 8",
        "simclr": "--add-unsupervised-pretraining --pretraining-epochs 2 --initial lp_coverage",
        "deepcluster": "--add-unsupervised-pretraining --pretraining-epochs 2 "
        "--pretraining-method deepcluster --add-lp --al-method typiclust",
        "bald": "--ema 0.9 --head-dropout 0.5 --al-method bald",
        "compile": "--compile",
    }
    failed, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, words in kinds.items():
            out = ["--out", folder] if "pretraining" in words else []
            run = [*plain.split(), *words.split(), "--run-dir", f"{folder}/{name}", *out]
            begin = time.perf_counter()
            for cycles in ("2", "3"):
                with contextlib.redirect_stdout(io.StringIO()):
                    status = main_al.main([*run, "--al-nb-cycles", cycles])
                failed += [f"{name} with {cycles} cycles: status {status}"] if status else []
            times.append(f"{name} {time.perf_counter() - begin:.0f} s")
    assert not failed, "; ".join(failed)
    return f"all finish and resume: {', '.join(times)}"


CHECKS = {
    "exact neighbours": check_neighbors,
    "affinity": check_affinity,
    "diffusion": check_diffusion,
    "label propagation": check_propagation,
    "acquisition methods": check_methods,
    "cifar_cnn": check_network,
    "runs": check_runs,
}


# ---- Times


def make_images(n: int, device: str) -> ImageStore:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageStore(pixels.to(device), [0.5] * 3, [0.25] * 3, max_shift=4, flip=True)


def seconds(function: Callable[[], Any], runs: int = 3) -> float:
    """The median time of some calls, after one that is not counted."""
    times = []
    for run in range(runs + 1):
        begin = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if run:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def time_step(device: str, batch_size: int, amp: bool) -> tuple[float, str]:
    torch.manual_seed(0)
    model = create_model("cifar_cnn", CLASSES).to(device)
    optimizer = create_optimizer(model, lr=0.01)
    images, steps = make_images(batch_size, device), 20 if device == "cuda" else 1
    batch = images.plain_batch(slice(None))
    labels = torch.randint(CLASSES, (batch_size,), device=device)
    weights, loss = torch.ones(batch_size, device=device), WeightedLoss(CLASSES)
    batches = [(Batch(batch, labels, weights),)] * steps

    def epoch() -> None:
        train_epoch(model, optimizer, batches, loss, lr_schedule=lambda done: 0.01, amp=amp)

    time_per_step = seconds(epoch) / steps
    rate = batch_size / time_per_step
    return time_per_step, f"{rate:,.0f} images/s, {rate * CIFAR_CNN_STEP_FLOP / 1e12:.1f} TFLOP/s"


def time_outputs(device: str, amp: bool) -> tuple[float, str]:
    torch.manual_seed(0)
    n = 50_000 if device == "cuda" else 2_000
    model, images = create_model("cifar_cnn", CLASSES).to(device), make_images(n, device)
    taken = seconds(lambda: extract_outputs(model, images, amp=amp), 2)
    return taken, f"{n / taken:,.0f} images/s"


def time_graph(device: str, n: int) -> tuple[float, str]:
    x = make_features(n, 128, device)
    taken = seconds(lambda: affinity(x.clone(), 50, search="auto"), 1)
    return taken, f"{n:,} x 128, k 50"


def time_diffusion(device: str, n: int) -> tuple[float, str]:
    W = affinity(make_features(n, 128, device), 50, search="auto")
    y = torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(0)).to(device)
    side = y if device == "cuda" else y.numpy()
    return seconds(lambda: diffuse(W, side)), f"{n:,} rows, {CLASSES} columns"


def time_method(device: str, method: str, n: int, budget: int) -> tuple[float, str]:
    x, labels = make_features(n, 128, device), make_labels(n, 10)

    def pick() -> None:
        select(
            method,
            features=x,
            pretrained_features=x,
            labels=labels,
            budget=budget,
            rng=np.random.default_rng(0),
            num_classes=CLASSES,
        )

    return seconds(pick, 1), f"{budget} of {n:,}"


def time_propagation_cycle(device: str, n: int) -> tuple[float, str]:
    """Features, graph, diffusion and pseudo-labels: what label propagation adds to an epoch."""
    torch.manual_seed(0)
    model, images = create_model("cifar_cnn", CLASSES).to(device), make_images(n, device)
    labels = make_labels(n, 100)

    def propagate_once() -> None:
        features, _ = extract_outputs(model, images)
        propagate(features, labels, CLASSES)

    return seconds(propagate_once, 1), f"{n:,} images of 32 x 32"


def time_simclr(device: str, n: int) -> tuple[float, str]:
    model = create_model("sized_cnn", CLASSES, in_channels=3, size=32).to(device)
    images = make_images(n, device)
    loop = PretrainingLoopOptions(
        pretraining_epochs=1, pretraining_lr=0.002, pretraining_batch_size=256
    )
    options = {"seed": 0, "loop": loop, "simclr": simclr.SimclrOptions()}
    taken = seconds(lambda: simclr.pretrain(model, images, **options), 1)
    return taken, f"{n / taken:,.0f} images/s"


# Row: function, arguments on the GPU, arguments on the CPU (None: not timed there).
ROWS: dict[str, tuple[Callable[..., tuple[float, str]], tuple, tuple | None]] = {
    "training step, batch 128": (time_step, (128, False), (128, False)),
    "training step, batch 128, amp": (time_step, (128, True), None),
    "training step, batch 512, amp": (time_step, (512, True), None),
    "features": (time_outputs, (False,), (False,)),
    "features, amp": (time_outputs, (True,), None),
    "graph, 50,000": (time_graph, (50_000,), (50_000,)),
    "graph, 1,000,000": (time_graph, (1_000_000,), None),
    "diffusion, 50,000": (time_diffusion, (50_000,), (50_000,)),
    "diffusion, 1,000,000": (time_diffusion, (1_000_000,), None),
    "coreset": (time_method, ("coreset", 50_000, 1000), ("coreset", 50_000, 1000)),
    "jlp": (time_method, ("jlp", 50_000, 100), ("jlp", 50_000, 100)),
    "lp_coverage, 4,000": (time_method, ("lp_coverage", 4_000, 40), ("lp_coverage", 4_000, 40)),
    "lp_coverage, 50,000": (
        time_method,
        ("lp_coverage", 50_000, 100),
        ("lp_coverage", 50_000, 100),
    ),
    "SimCLR epoch": (time_simclr, (20_000,), (2_000,)),
    "label propagation cycle": (time_propagation_cycle, (60_000,), None),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="words of rows or checks")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("tests.gpu: no GPU that torch can use", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, faiss {faiss.__version__}, "
          f"{torch.get_num_threads()} CPU threads", flush=True)  # fmt: skip

    def is_chosen(name: str) -> bool:
        return not args.rows or any(word in name for word in args.rows)

    failed = 0
    for name, check in CHECKS.items():
        if is_chosen(name):
            failed += _report(f"check {name}", check)
    table = []
    for name, (function, on_gpu, on_cpu) in ROWS.items():
        if is_chosen(name):
            row = {"row": name}
            failed += _report(
                f"{name}, GPU", lambda f=function, a=on_gpu: f("cuda", *a), row, "gpu"
            )
            if on_cpu is not None:
                failed += _report(
                    f"{name}, CPU", lambda f=function, a=on_cpu: f("cpu", *a), row, "cpu"
                )
            table.append(row)
    columns = ("row", "gpu_seconds", "gpu_note", "cpu_seconds", "cpu_note")
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(table)
    print("\n| row | GPU | | CPU | |\n| --- | --- | --- | --- | --- |")
    for row in table:
        print(f"| {' | '.join(str(row.get(column, '')) for column in columns)} |")
    return 1 if failed else 0


def _report(name: str, function: Callable[[], Any], row: dict | None = None, key: str = "") -> int:
    """Run, and print what came out; -> 1 if it failed."""
    begin = time.perf_counter()
    try:
        result = function()
    except Exception as error:  # the table goes on
        traceback.print_exc()
        print(f"FAILED {name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        return 1
    if row is not None:
        taken, note = result
        row |= {f"{key}_seconds": f"{taken:.4g}", f"{key}_note": note}
        result = f"{taken:.4g} s, {note}"
    print(f"{name}: {result} [{time.perf_counter() - begin:.0f} s]", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
