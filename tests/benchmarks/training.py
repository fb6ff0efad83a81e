"""The training step and the extraction of features of `cifar_cnn`, against the library's layers."""

import torch

from data.augment import ImageStore
from models import create_model
from tests.benchmarks import reference_implementations
from tests.benchmarks.harness import compare
from training.epoch import train_epoch
from training.learner import create_optimizer
from training.losses import Batch, WeightedLoss
from training.network_outputs import extract_outputs


def bench_training(n):
    return [row for batch_size in (32, 128) for row in training_rows(batch_size)]


def training_rows(batch_size):
    torch.manual_seed(0)
    twin_model, model = create_model("cifar_cnn", 10), create_model("cifar_cnn", 10)
    reference_implementations.library_layers(twin_model)
    options = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 2e-4}
    optimizers = [create_optimizer(m, **options) for m in (model, twin_model)]
    pixels = torch.randint(256, (512, 3, 32, 32), dtype=torch.uint8)
    images = ImageStore(pixels, [0.5] * 3, [0.25] * 3)
    batch, weights = images.plain_batch(slice(0, batch_size)), torch.ones(batch_size)
    labels, loss = torch.randint(10, (batch_size,)), WeightedLoss(10)

    def ours():
        batches = [(Batch(batch, labels, weights),)]
        return train_epoch(model, optimizers[0], batches, loss, lr_schedule=lambda _: 0.01)

    def twin():
        return reference_implementations.train_step(
            twin_model, optimizers[1], batch, labels, weights
        )

    what = f"cifar_cnn, batch {batch_size}"
    step = compare(f"training step of {what}", ours, twin, wanted="1.5", runs=9)

    twin_model.load_state_dict(model.state_dict())
    twin_model.eval()

    def features():
        return extract_outputs(model, images, batch_size=batch_size)[0]

    @torch.no_grad()
    def twin_features():
        parts = torch.arange(512).split(batch_size)
        return torch.cat([twin_model(images.plain_batch(part))[1] for part in parts])

    def agree(ours, twin):
        return f"within {(ours - twin).abs().max():.0e} at length one"

    row = compare(f"features of {what}", features, twin_features, check=agree, wanted="1.5", runs=7)
    return [step, row]
