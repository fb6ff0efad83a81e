"""The outputs of the authors' code, matched as closely as a converged linear solve can."""

import numpy as np
import pytest
import scipy.special
import torch

from al_methods import select
from data.augment import make_shift_windows, translate_images
from models import create_model
from training.lr_schedule import ScheduleOptions, learning_rate

NAMES = ("easy_10class", "hard_10class", "hundred_class")


@pytest.mark.parametrize("name", NAMES)
def test_acquisition(golden, name):
    file = golden(name)
    inputs = {
        "features": file["features"],
        "probs": scipy.special.softmax(file["logits"], axis=1),
        "labels": file["labels"],
        "budget": int(file["budget"]),
        "rng": np.random.default_rng(0),
    }
    np.testing.assert_array_equal(select("coreset", **inputs), file["coreset_picks"])
    entropy = np.sort(select("uncertainty_entropy", **inputs))
    np.testing.assert_array_equal(entropy, file["entropy_picks_as_a_set"])
    common = np.intersect1d(select("jlp", **inputs), file["jlp_picks"])
    assert len(common) >= 0.99 * inputs["budget"]


@pytest.mark.parametrize(
    "arch, layers, size", [("cifar_cnn", 10, 3125908), ("resnet18", 21, 11181642)]
)
def test_network_outputs(golden, arch, layers, size):
    """3,125,908 parameters: the 3,127,208 of the golden files' readme without its second head."""
    file, model = golden("nets_augment_lr"), create_model(arch, 10).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == size
    modules = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(modules) == layers
    for j, module in enumerate(modules):
        with torch.no_grad():
            set_weight(module, j)
            if module.bias is not None:
                module.bias.copy_(0.01 * torch.cos(torch.arange(len(module.bias)) + float(j)))
    images = torch.sin(0.01 * torch.arange(2 * 3 * 32 * 32, dtype=torch.float64))
    logits, features = model(images.float().reshape(2, 3, 32, 32))
    for name, value in (("logits", logits), ("features", features)):
        np.testing.assert_allclose(value.detach(), file[f"{arch}_{name}"], atol=1e-4)


def set_weight(module, j):
    """The formula of the golden files' readme.  Assigning passes through weight normalisation."""
    shape = module.weight.shape
    i = torch.arange(module.weight.numel(), dtype=torch.float64)
    weight = torch.cos(0.37 * i + j) * np.sqrt(2 / module.weight[0].numel())
    weight = weight.float().reshape(shape)
    module.weight = weight if hasattr(module, "parametrizations") else torch.nn.Parameter(weight)


def test_translation(golden):
    file = golden("nets_augment_lr")
    image = torch.from_numpy(file["translate_input"]).permute(2, 0, 1)[None]
    shifts = file["translate_shifts_xy"]
    moved = translate_images(make_shift_windows(image, 4), np.zeros(len(shifts), dtype=int), shifts)
    np.testing.assert_array_equal(moved.permute(0, 2, 3, 1), file["translate_outputs"])


def test_learning_rate(golden):
    file = golden("nets_augment_lr")
    schedule = ScheduleOptions(lr=0.2, lr_rampdown_epochs=210)
    rates = [learning_rate(epoch, schedule) for epoch in file["lr_epochs"]]
    np.testing.assert_allclose(rates, file["lr_values"], rtol=0, atol=1e-9)
