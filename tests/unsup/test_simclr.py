"""SimCLR: the loss against a loop, the classes found without a label, and going on."""

import math

import numpy as np
import pytest
import torch

from data.augment import ImageStore, channel_statistics
from models import ARCHS, create_model
from tests.unsup.test_deepcluster import copy_of, digits
from training.losses import Batch
from training.network_outputs import extract_outputs
from unsup import deepcluster, feature_quality
from unsup.feature_quality import FeatureQuality, pretrain_and_measure
from unsup.simclr import ContrastiveLoss, pretrain
from utils.console import log
from utils.graph.neighbor_stability import neighbor_agreement

SETTINGS = {"epochs": 4, "lr": 0.002, "batch_size": 64, "temperature": 0.5, "seed": 1}


def network(arch="sized_cnn", size=8, channels=1):
    torch.manual_seed(0)
    return create_model(arch, 10, channels, size)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_formula(temperature):
    """Equation 1, pair by pair, of what the network makes of either view."""
    torch.manual_seed(0)
    views = torch.randn(2, 5, 1, 2, 2)
    batches = [Batch(view, torch.zeros(5), torch.ones(5)) for view in views]
    flat = lambda x: torch.nn.functional.normalize(x.flatten(1))  # noqa: E731
    found = ContrastiveLoss(temperature)(flat, tuple(batches))
    z = flat(torch.cat(list(views))).double().numpy()
    terms = []
    for i in range(10):
        others = [math.exp(z[i] @ z[j] / temperature) for j in range(10) if j != i]
        terms.append(-math.log(math.exp(z[i] @ z[(i + 5) % 10] / temperature) / sum(others)))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("arch", [name for name, row in ARCHS.items() if not row.takes_features])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_learns_in_place(arch, channels):
    size = max(8, ARCHS[arch].min_image_size)
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (24, channels, size, size), dtype=np.uint8)
    )
    images = ImageStore(pixels, *channel_statistics(pixels), 1, flip=True)
    model = network(arch, size, channels)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = pretrain(model, images, **SETTINGS | {"epochs": 2, "batch_size": 12})
    assert [row["epoch"] for row in rows] == [0, 1]
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("head"))
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("backbone"))


def test_neighbours_come_to_share_their_class():
    """The classes are hidden: they only judge."""
    images, hidden = digits(600)
    model = network()

    def purity():
        x = extract_outputs(model, images)[0]
        near = (x @ x.T).fill_diagonal_(-1).topk(5).indices.numpy()
        return (hidden[near] == hidden[:, None]).mean()

    before, looked = purity(), feature_quality.measure_feature_quality(model, images)
    rows = pretrain(model, images, **SETTINGS | {"epochs": 30})
    assert purity() > before + 0.02 and rows[-1]["loss"] < rows[0]["loss"] - 0.3
    assert (
        feature_quality.measure_feature_quality(model, images).neighbor_stability
        > looked.neighbor_stability
    )


def test_resuming_is_the_same_training():
    images, _ = digits(150)
    whole, states = network(), []
    rows = pretrain(whole, images, after_epoch=lambda p, s: states.append(copy_of(s)), **SETTINGS)
    again = network()
    assert pretrain(again, images, resume=states[1], **SETTINGS) == rows
    for name, value in whole.backbone.state_dict().items():
        assert torch.equal(value, again.backbone.state_dict()[name]), name


def test_the_health_of_features_that_are_known(monkeypatch):
    """Images that no view changes agree wholly; a network that gives one answer has rank one."""
    images, _ = digits(200)
    monkeypatch.setattr(
        type(images), "strong_batch", lambda images, indices, rng: images.plain_batch(indices)
    )

    class Same(torch.nn.Module):
        def forward(self, batch):
            flat = batch.flatten(1)
            return flat, flat

    class One(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, batch):
            flat = torch.full((len(batch), 5), self.value)
            return flat, flat

    found = feature_quality.measure_feature_quality(Same(), images)
    assert found.neighbor_stability == 1 and 5 < found.effective_rank < 64
    for value in (1.0, 0.0):
        assert feature_quality.measure_feature_quality(One(value), images) == (0, pytest.approx(1))


@pytest.mark.parametrize("count, wanted", [(1, 1), (2, 1), (3, 1 / 2), (12, 5 / 11), (23, 10 / 22)])
def test_the_agreement_of_few_images(count, wanted):
    """Of features at random a neighbour of k among n others stays with k / n."""
    images, _ = digits(count)
    torch.manual_seed(0)
    found = [neighbor_agreement(lambda b: torch.randn(len(b), 9), images, 0) for _ in range(40)]
    assert np.mean(found) == pytest.approx(wanted, abs=0.08)


@pytest.mark.parametrize(
    "after, worse",
    [
        (FeatureQuality(0.5, 9), False),
        (FeatureQuality(0.31, 9), True),
        (FeatureQuality(0.5, 2), True),
        (FeatureQuality(float("nan"), 9), True),
        (FeatureQuality(0, 9), True),
    ],
)
def test_what_is_no_better_than_before_is_warned_of(caplog, monkeypatch, after, worse):
    monkeypatch.setattr(log, "propagate", True)
    feature_quality.log_feature_quality(FeatureQuality(0.3, 5), after)
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert bool(told) == worse


def test_spoiled_features_are_warned_of(caplog, monkeypatch):
    """DeepCluster at the paper's rate on unit-length features loses the classes of digits."""
    monkeypatch.setattr(log, "propagate", True)
    images, _ = digits(700)
    settings = {"num_classes": 10, "seed": 0, "epochs": 12, "batch_size": 128}
    _, seen = pretrain_and_measure(deepcluster.pretrain, network(), images, lr=0.05, **settings)
    feature_quality.log_feature_quality(*seen)
    told = {r.getMessage() for r in caplog.records if r.levelname == "WARNING"}
    assert len(told) == 1 and "--pretraining-method" in told.pop()
    caplog.clear()
    feature_quality.log_feature_quality(
        *pretrain_and_measure(pretrain, network(), images, **SETTINGS | {"epochs": 12})[1]
    )
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
