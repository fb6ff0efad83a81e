"""How long the parts of a run take on a GPU, beside the CPU's time for the same or fewer images."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_methods import select
from models import create_model
from models.encoders import efficientnet_lite0
from semisup.label_propagation import propagate
from tests.gpu.checks import run_main
from tests.gpu.synthetic import CLASSES, make_features, make_images, make_labels
from training.epoch import train_epoch
from training.learner import create_optimizer
from training.losses import Batch, WeightedLoss
from training.network_outputs import extract_outputs
from unsup import simclr
from unsup.shared_options import PretrainingLoopOptions
from utils.diffusion import DiffusionSolver, as_scipy_csr
from utils.graph import affinity

CIFAR_CNN_FLOP = 2 * 731_000_000  # per image of 32 x 32, forward; backward takes twice that
CLASSES_OF_DIFFUSION = 10
MATRIX_SIDE = 8192
FEW_IMAGES = 1_000_000  # from here on a call is not repeated


@dataclass(frozen=True)
class Timing:
    """What a row of the table says about one device."""

    seconds: float  # of one call
    images: int = 0  # per call; 0 where a rate says nothing
    flop: float = 0  # floating-point operations per call
    bfloat16: bool = False  # the type that the share of the peak refers to


@dataclass(frozen=True)
class Row:
    """A row of the table.

    time: device, number of images -> Timing.
    gpu, cpu: numbers of images on the GPU and on the CPU; cpu 0: not timed there.
    dry_run: largest number of images in a dry run."""

    time: Callable[[str, int], Timing]
    gpu: int
    cpu: int = 0
    dry_run: int = 200


def seconds(function: Callable[[], Any], device: str, runs: int = 3) -> float:
    """The median time of some calls, after one that is not counted."""
    times = []
    for run in range(runs + 1):
        begin = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        if run:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def time_matrix_product(device: str, bfloat16: bool, side: int = MATRIX_SIDE) -> float:
    """Floating-point operations per second of a product of two square matrices, of bfloat16 or of
    float32, on a GPU with the rounding of its convolutions (TF32)."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    a = torch.randn(side, side, device=device, dtype=dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    taken = seconds(lambda: a @ a, device, 5)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 / taken


def time_step(device: str, n: int, amp: bool = False) -> Timing:
    torch.manual_seed(0)
    model = create_model("cifar_cnn", CLASSES).to(device)
    optimizer, steps = create_optimizer(model, lr=0.01), 20 if device != "cpu" else 1
    batch = make_images(n, device).plain_batch(slice(None))
    labels, weights = torch.arange(n, device=device) % CLASSES, torch.ones(n, device=device)
    batches, loss = [(Batch(batch, labels, weights),)] * steps, WeightedLoss(CLASSES)

    amp = amp and device != "cpu"  # a dry run; many CPUs emulate bfloat16

    def epoch() -> None:
        train_epoch(model, optimizer, batches, loss, lr_schedule=lambda done: 0.01, amp=amp)

    taken = seconds(epoch, device, 3 if device != "cpu" else 1) / steps
    return Timing(taken, n, 3 * CIFAR_CNN_FLOP * n, amp)


def time_step_amp(device: str, n: int) -> Timing:
    return time_step(device, n, amp=True)


def time_outputs(device: str, n: int, amp: bool = False) -> Timing:
    torch.manual_seed(0)
    model, images = create_model("cifar_cnn", CLASSES).to(device), make_images(n, device)
    amp = amp and device != "cpu"
    taken = seconds(lambda: extract_outputs(model, images, amp=amp), device, 2)
    return Timing(taken, n, CIFAR_CNN_FLOP * n, amp)


def time_outputs_amp(device: str, n: int) -> Timing:
    return time_outputs(device, n, amp=True)


def time_encoder(device: str, n: int) -> Timing:
    """The network and the copies to and from the device, without the preparation of the images."""
    encoder = efficientnet_lite0.load("", torch.device(device))
    batch = np.zeros((n, 3, 224, 224), dtype=np.float32)
    return Timing(seconds(lambda: encoder.encode(batch), device, 2), n)


def time_graph(device: str, n: int) -> Timing:
    x = make_features(n, 128, device)
    if n >= FEW_IMAGES:
        affinity(x[:10_000].clone(), 50)  # what only the first call does
        begin = time.perf_counter()
        affinity(x, 50, search="auto")
        torch.cuda.synchronize()
        return Timing(time.perf_counter() - begin, n)
    return Timing(seconds(lambda: affinity(x.clone(), 50, search="auto"), device, 2), n)


@cache
def graph_on(device: str, n: int) -> Any:
    """The graph of n images, made once."""
    return affinity(make_features(n, 128, device), 50, search="auto")


def time_diffusion(device: str, n: int) -> Timing:
    """Without the preparation of the graph.  The CPU gets the graph that was made on the GPU."""
    maker = "cuda" if torch.cuda.is_available() else "cpu"
    W = graph_on(maker, n)
    if device == "cpu" and isinstance(W, torch.Tensor):
        W = as_scipy_csr(W)
    solver = DiffusionSolver(W)
    y = torch.rand(n, CLASSES_OF_DIFFUSION, generator=torch.Generator().manual_seed(0))
    side = y.numpy() if device == "cpu" else y.to(device)
    return Timing(seconds(lambda: solver.solve(side), device, 1 if n >= FEW_IMAGES else 3), n)


def timing_of_method(method: str, budget: int) -> Callable[[str, int], Timing]:
    """The time of an acquisition method, with ten labels per class."""

    def time_method(device: str, n: int) -> Timing:
        x, labels = make_features(n, 128, device), make_labels(n, 10)

        def pick() -> None:
            select(
                method,
                features=x,
                pretrained_features=x,
                labels=labels,
                budget=min(budget, n // 10),
                rng=np.random.default_rng(0),
                num_classes=CLASSES,
            )

        return Timing(seconds(pick, device, 1), n)

    return time_method


def time_propagation(device: str, n: int) -> Timing:
    """Features, graph, diffusion and pseudo-labels: what label propagation adds to an epoch."""
    torch.manual_seed(0)
    model, images = create_model("cifar_cnn", CLASSES).to(device), make_images(n, device)
    labels = make_labels(n, min(100, n // 20))

    def propagate_once() -> None:
        features, _ = extract_outputs(model, images)
        propagate(features, labels, CLASSES)

    return Timing(seconds(propagate_once, device, 1), n)


def time_simclr(device: str, n: int) -> Timing:
    model = create_model("sized_cnn", CLASSES, in_channels=3, size=32).to(device)
    images = make_images(n, device)
    loop = PretrainingLoopOptions(
        pretraining_epochs=1, pretraining_lr=0.002, pretraining_batch_size=256
    )
    options = {"seed": 0, "loop": loop, "simclr": simclr.SimclrOptions()}
    return Timing(seconds(lambda: simclr.pretrain(model, images, **options), device, 1), n)


def time_cycle(device: str, n: int) -> Timing:
    """main_al.py from the images in a file to the results of a cycle with one epoch: propagation,
    training, test, the estimate of the accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        images, labels = make_images(n, "cpu").pixels.numpy(), np.arange(n) % CLASSES
        np.save(Path(folder, "images.npy"), images.transpose(0, 2, 3, 1))
        np.save(Path(folder, "labels.npy"), labels)
        np.save(Path(folder, "test_images.npy"), images[: n // 6].transpose(0, 2, 3, 1))
        np.save(Path(folder, "test_labels.npy"), labels[: n // 6])
        begin = time.perf_counter()
        run_main(
            f"--dataset arrays --data-root {folder} --arch cifar_cnn --add-lp --batch-size 128 "
            f"--al-budget {min(1000, n // 4)} --al-nb-cycles 1 --epochs 1 --device {device}",
            *("--run-dir", f"{folder}/run", "--out", f"{folder}/runs"),
        )
        return Timing(time.perf_counter() - begin, n)


ROWS = {
    "training step of cifar_cnn, batch 32": Row(time_step, 32, 32, dry_run=2),
    "training step, batch 128": Row(time_step, 128, 128, dry_run=2),
    "training step, batch 512": Row(time_step, 512, dry_run=2),
    "training step, batch 32, --amp": Row(time_step_amp, 32, dry_run=2),
    "training step, batch 128, --amp": Row(time_step_amp, 128, dry_run=2),
    "training step, batch 512, --amp": Row(time_step_amp, 512, dry_run=2),
    "features of cifar_cnn": Row(time_outputs, 50_000, 1_000, dry_run=2),
    "features, --amp": Row(time_outputs_amp, 50_000, dry_run=2),
    "encoder efficientnet_lite0": Row(time_encoder, 256, 32, dry_run=2),
    "graph, 128 features, k 50": Row(time_graph, 50_000, 50_000),
    "graph, 10^6 images": Row(time_graph, 1_000_000),
    "diffusion, 10 classes": Row(time_diffusion, 50_000, 50_000),
    "diffusion, 10^6 images": Row(time_diffusion, 1_000_000, 1_000_000),
    "coreset, 1,000 picks": Row(timing_of_method("coreset", 1000), 50_000, 50_000),
    "jlp, 100 picks": Row(timing_of_method("jlp", 100), 50_000, 50_000),
    "lp_coverage, 40 picks": Row(timing_of_method("lp_coverage", 40), 4_000, 4_000),
    "lp_coverage, 100 picks": Row(timing_of_method("lp_coverage", 100), 50_000, 50_000),
    "SimCLR with sized_cnn, an epoch": Row(time_simclr, 20_000, 2_000, dry_run=60),
    "propagation: features to labels": Row(time_propagation, 60_000, 1_000, dry_run=60),
    "one cycle of main_al.py --add-lp": Row(time_cycle, 60_000, 1_000, dry_run=60),
}
