"""Results on a GPU, compared with those on the CPU and with themselves.

A check takes the device and a number of images, and returns what it found.  It raises
AssertionError where results differ.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import main_al
import predict
from al_methods import METHODS, select
from models import ARCHS, create_model
from models.encoders import efficientnet_lite0
from semisup.label_propagation import propagate
from semisup.leave_one_out import leave_one_out
from semisup.propagation_solvers import SOLVERS
from tests.al_methods.test_acquisition import inputs
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.gpu.synthetic import CLASSES, make_features, make_images, make_labels
from utils.arrays import as_numpy
from utils.diffusion import diffuse
from utils.graph import affinity
from utils.graph.affinity_graph import KERNELS
from utils.graph.nearest_neighbors import exact_neighbors

# Runs on the digits of scikit-learn; each is made twice, once in one go and once in two.
RUNS = {
    "plain": "",
    "resnet18": "--arch resnet18 --al-method margin",
    "lp": "--add-lp --al-method jlp",
    "lp amp": "--add-lp --amp",
    "lp kl": "--add-lp --loss-type kl --lp-affinity gaussian --al-method lp_coverage",
    "ceal": "--add-ceal --ceal-th 1 --al-method badge",
    "fixmatch": "--add-fixmatch --mu 2 --b 8 --al-method coreset",
    "simclr": "--add-unsupervised-pretraining --pretraining-epochs 2 --initial lp_coverage "
    "--add-lp --lp-views features,pretrained_features",
    "deepcluster": "--add-unsupervised-pretraining --pretraining-epochs 2 "
    "--pretraining-method deepcluster --al-method typiclust",
    "bald": "--ema 0.9 --head-dropout 0.5 --al-method bald",
}
CYCLES = 3


def check_neighbors(device: str, n: int) -> str:
    x = make_features(n, 128, "cpu")
    expected = exact_neighbors(x, 51)[1]
    found = exact_neighbors(x.to(device), 51)[1].cpu()
    same = (found[:, :, None] == expected[:, None]).any(dim=2).float().mean()
    assert same > 0.999, f"only {same:.4f} of the neighbours agree"
    return f"{same:.5f} of the neighbours agree"


def check_affinity(device: str, n: int) -> str:
    x, largest = make_features(n, 64, "cpu"), 0.0
    x[:40], x[40:50] = x[50:90].clone(), 0  # duplicates, and images without a direction
    for kernel in KERNELS:
        for views in ([x], [x, x[:, :16].contiguous()]):
            weights = None if len(views) == 1 else [2.0, 1.0]
            on_device = [view.to(device) for view in views]
            graphs = [affinity(v, 20, kernel=kernel, weights=weights) for v in (views, on_device)]
            expected, found = (as_dense(graph) for graph in graphs)
            largest = max(largest, np.abs(found - expected).max())
    assert largest < 1e-4, f"entries differ by {largest:.1e}"
    return f"largest difference of an entry {largest:.1e}"


def as_dense(graph: object) -> np.ndarray:
    """A graph on the CPU or a GPU as an array."""
    return graph.cpu().to_dense().numpy() if isinstance(graph, torch.Tensor) else graph.toarray()


def check_diffusion(device: str, n: int) -> str:
    x = make_features(n, 64, "cpu")
    y = np.random.default_rng(0).random((len(x), 40)).astype(np.float32)
    expected = diffuse(affinity(x, 20), y)
    W = affinity(x.to(device), 20)
    first, second = (diffuse(W, torch.from_numpy(y).to(device)) for _ in range(2))
    assert np.array_equal(as_numpy(first), as_numpy(second)), "two solutions differ"
    difference = np.abs(as_numpy(first) - expected).max() / np.abs(expected).max()
    assert difference < 1e-4, f"solutions differ by {difference:.1e}"
    return f"largest relative difference {difference:.1e}, the same bytes twice"


def check_propagation(device: str, n: int) -> str:
    """Every solver, and what leave-one-out says of the labels."""
    x, labels, parts = make_features(n, 64, "cpu"), make_labels(n, 2), []
    for solver in SOLVERS:
        for balance in ("none", "uniform"):
            options = {"k": 20, "solver": solver, "balance": balance}
            expected = propagate(x, labels, CLASSES, **options).labels
            found = propagate(x.to(device), labels, CLASSES, **options).labels
            parts.append(float((found == expected).mean()))
            assert parts[-1] > 0.995, f"{solver}, balance {balance}: {parts[-1]:.4f} agree"
    known = np.flatnonzero(labels >= 0)
    left_out = [
        leave_one_out(affinity(view, 20), labels, CLASSES, known, alpha=0.99).left_out
        for view in (x, x.to(device))
    ]
    assert (left_out[0] == left_out[1]).mean() > 0.9, "labels that are left out differ"
    return f"of the labels {min(parts):.4f} to {max(parts):.4f} agree"


def check_methods(device: str, n: int) -> str:
    """Every acquisition method: valid picks, the same twice, and mostly those of the CPU."""
    parts = []
    for method in METHODS:
        arrays = inputs(method, n=n, d=64, classes=CLASSES, labeled=20)
        arrays |= {name: make_features(n, 64, "cpu") for name in arrays if "features" in name}
        picks = []
        for place in ("cpu", device, device):
            given = {
                k: v if k == "labels" else torch.as_tensor(v).to(place) for k, v in arrays.items()
            }
            rng = np.random.default_rng(0)
            picks.append(select(method, **given, budget=20, rng=rng, num_classes=CLASSES))
        assert len(set(picks[1].tolist())) == 20 and (arrays["labels"][picks[1]] < 0).all(), method
        assert np.array_equal(picks[1], picks[2]), f"{method} picks other images the second time"
        parts.append(f"{method} {len(np.intersect1d(*picks[:2]))}")
    return "of 20 picks the same as on the CPU: " + ", ".join(parts)


def check_networks(device: str, n: int) -> str:
    """Every network for images: logits and the gradients of all weights."""
    parts, images = [], make_images(n, "cpu").plain_batch(slice(None))
    for arch in (name for name, entry in ARCHS.items() if not entry.takes_features):
        torch.manual_seed(0)
        network = create_model(arch, CLASSES).eval()
        results = []
        for place in ("cpu", device):
            network.to(place).zero_grad()
            logits, _ = network(images.to(place))
            torch.nn.functional.cross_entropy(
                logits, torch.arange(n).to(place) % CLASSES
            ).backward()
            gradients = [p.grad.flatten().cpu() for p in network.parameters()]
            results.append((logits.detach().cpu(), torch.cat(gradients)))
        difference, slope = (
            float((b - a).abs().max() / a.abs().max()) for a, b in zip(*results, strict=True)
        )
        assert difference < 2e-2 and slope < 5e-2, f"{arch}: {difference:.1e}, {slope:.1e}"
        parts.append(f"{arch} {difference:.0e} and {slope:.0e}")
    return "relative difference of logits and gradients: " + ", ".join(parts)


def check_encoder(device: str, n: int) -> str:
    """The features of random images, of an encoder with its real weights."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8))] * n
    features = []
    for place in ("cpu", device):
        encoder = efficientnet_lite0.load("", torch.device(place))
        features.append(encoder.encode(np.stack([encoder.prepare(one) for one in pictures])))
    difference = np.abs(features[1] - features[0]).max() / np.abs(features[0]).max()
    assert difference < 2e-2, f"features differ by {difference:.1e}"
    return f"largest relative difference {difference:.1e}"


def check_runs(device: str, n: int) -> str:
    """Runs of main_al.py in this process: one in two goes ends with the bytes of one in one go."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for name, words in RUNS.items():
            if "--amp" in words and device == "cpu":
                continue
            begin, runs = time.perf_counter(), [Path(folder, f"{name} {i}") for i in range(2)]
            for i, (run, goes) in enumerate(
                zip(runs, ([CYCLES], [CYCLES - 1, CYCLES]), strict=True)
            ):
                for cycles in goes:
                    run_main(
                        f"--dataset digits --al-budget 10 --epochs 3 --steps-per-epoch 4 {words} "
                        f"--al-nb-cycles {cycles} --device {device}",
                        *("--run-dir", run, "--out", f"{folder}/{i}"),
                    )
            assert_same_run(*runs)
            times.append(f"{name} {time.perf_counter() - begin:.0f} s")
        with contextlib.redirect_stdout(io.StringIO()):
            status = predict.main([str(runs[0]), "--csv", f"{folder}/classes.csv"])
        assert status == 0, f"predict.py ended with status {status}"
    return f"the same bytes in one go and in two: {', '.join(times)}"


def run_main(words: str, *more: object) -> None:
    """main_al.py with these words; its output is dropped."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main_al.main([*words.split(), *map(str, more)])
    assert status == 0, f"{words}: status {status}, {output.getvalue()[-300:]}"


def check_sweep(device: str, n: int) -> str:
    """Two runs at a time on the first GPU, as processes."""
    place = ["--gpus", "0"] if device == "cuda" else ["--device", "cpu"]
    words = "--dataset digits --al-budget 10 --al-nb-cycles 1 --epochs 1 --seed 0-1 --jobs 2"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "sweep.py"), *words.split(), *place, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-300:]}"
    return done.stdout.strip().splitlines()[-1]


@dataclass(frozen=True)
class Check:
    """A check, and on how many images it is made; 0 where it makes runs on a data set.

    dry_run: the largest number in a dry run."""

    run: Callable[[str, int], str]
    images: int = 0
    dry_run: int = 200


CHECKS = {
    "exact neighbours": Check(check_neighbors, 20_000),
    "affinity": Check(check_affinity, 5_000),
    "diffusion": Check(check_diffusion, 20_000),
    "label propagation": Check(check_propagation, 5_000),
    "acquisition methods": Check(check_methods, 3_000),
    "networks": Check(check_networks, 64, dry_run=2),
    "encoder": Check(check_encoder, 4, dry_run=1),
    "runs": Check(check_runs),
    "sweep": Check(check_sweep),
}
