"""Training step and feature extraction of `cifar_cnn`, compared with the library's layers."""

from typing import Any

import torch

from data.augment import ImageStore
from models import create_model
from tests.benchmarks import reference_implementations
from tests.benchmarks.harness import compare
from training.epoch import train_epoch
from training.learner import create_optimizer
from training.losses import Batch, WeightedLoss
from training.network_outputs import extract_outputs


def bench_training(n: int) -> list[dict[str, Any]]:
    """n: not used, the networks see 512 images."""
    return [row for batch_size in (32, 128) for row in training_rows(batch_size)]


def training_rows(batch_size: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    reference_model, model = create_model("cifar_cnn", 10), create_model("cifar_cnn", 10)
    reference_implementations.use_library_layers(reference_model)
    optimizer, reference_optimizer = (
        create_optimizer(network, lr=0.01, momentum=0.9, nesterov=True, weight_decay=2e-4)
        for network in (model, reference_model)
    )
    pixels = torch.randint(256, (512, 3, 32, 32), dtype=torch.uint8)
    images = ImageStore(pixels, [0.5] * 3, [0.25] * 3)
    batch, weights = images.plain_batch(slice(0, batch_size)), torch.ones(batch_size)
    labels, loss = torch.randint(10, (batch_size,)), WeightedLoss(10)

    def step() -> Any:
        batches = [(Batch(batch, labels, weights),)]
        return train_epoch(model, optimizer, batches, loss, lr_schedule=lambda _: 0.01)

    def reference_step() -> float:
        return reference_implementations.train_step(
            reference_model, reference_optimizer, batch, labels, weights
        )

    setting = f"cifar_cnn, batch {batch_size}"
    step_row = compare(f"training step of {setting}", step, reference_step, target="1.5", runs=9)

    reference_model.load_state_dict(model.state_dict())
    reference_model.eval()

    def extract() -> torch.Tensor:
        return extract_outputs(model, images, batch_size=batch_size)[0]

    @torch.no_grad()
    def reference_extract() -> torch.Tensor:
        parts = torch.arange(512).split(batch_size)
        return torch.cat([reference_model(images.plain_batch(part))[1] for part in parts])

    def describe_difference(ours: torch.Tensor, reference: torch.Tensor) -> str:
        return f"within {(ours - reference).abs().max():.0e} at unit length"

    feature_row = compare(
        f"features of {setting}",
        extract,
        reference_extract,
        check=describe_difference,
        target="1.5",
        runs=7,
    )
    return [step_row, feature_row]
