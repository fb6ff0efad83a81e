"""SimCLR: the loss against a loop, features that improve without labels, and resuming."""

import math

import numpy as np
import pytest
import torch

from data.augment import ImageStore, channel_statistics
from models import ARCHS, create_model
from tests.unsup.test_deepcluster import arguments as deepcluster_arguments
from tests.unsup.test_deepcluster import digits, save_and_load
from training.losses import Batch
from training.network_outputs import extract_outputs
from unsup import deepcluster, feature_quality, neighbor_simclr
from unsup.feature_quality import FeatureQuality, pretrain_and_measure
from unsup.shared_options import PretrainingLoopOptions
from unsup.simclr import ContrastiveLoss, SimclrOptions, pretrain
from utils.console import log
from utils.graph.neighbor_stability import neighbor_agreement


def arguments(epochs=4, batch_size=64):
    """Keyword arguments of `pretrain`."""
    loop = PretrainingLoopOptions(
        pretraining_epochs=epochs, pretraining_lr=0.002, pretraining_batch_size=batch_size
    )
    return {"loop": loop, "simclr": SimclrOptions(pretraining_temperature=0.5), "seed": 1}


def network(arch="sized_cnn", size=8, channels=1):
    torch.manual_seed(0)
    return create_model(arch, 10, channels, size)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_follows_the_formula(temperature):
    """Equation 1, pair by pair, of the network's outputs for both views."""
    torch.manual_seed(0)
    views = torch.randn(2, 5, 1, 2, 2)
    batches = [Batch(view, torch.zeros(5), torch.ones(5)) for view in views]
    encode = lambda x: torch.nn.functional.normalize(x.flatten(1))  # noqa: E731
    loss = ContrastiveLoss(temperature)(encode, tuple(batches))
    z = encode(torch.cat(list(views))).double().numpy()
    terms = []
    for i in range(10):
        others = [math.exp(z[i] @ z[j] / temperature) for j in range(10) if j != i]
        terms.append(-math.log(math.exp(z[i] @ z[(i + 5) % 10] / temperature) / sum(others)))
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("arch", [name for name, arch in ARCHS.items() if not arch.takes_features])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_is_trained_in_place(arch, channels):
    size = max(8, ARCHS[arch].min_image_size)
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (24, channels, size, size), dtype=np.uint8)
    )
    images = ImageStore(pixels, *channel_statistics(pixels), 1, flip=True)
    model = network(arch, size, channels)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = pretrain(model, images, **arguments(epochs=2, batch_size=12))
    assert [row["epoch"] for row in rows] == [0, 1]
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("head"))
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("backbone"))


def test_neighbours_share_their_class_after_pretraining():
    """The classes only evaluate the result."""
    images, hidden = digits(600)
    model = network()

    def purity():
        x = extract_outputs(model, images)[0]
        near = (x @ x.T).fill_diagonal_(-1).topk(5).indices.numpy()
        return (hidden[near] == hidden[:, None]).mean()

    before, quality_before = purity(), feature_quality.measure_feature_quality(model, images)
    rows = pretrain(model, images, **arguments(epochs=30))
    # The gain depends on the rounding: 0.0213 with one thread, 0.0200 with two. The standard error
    # of a share of 3,000 pairs near 95 % is 0.004.
    assert purity() > before + 0.01 and rows[-1]["loss"] < rows[0]["loss"] - 0.3
    quality = feature_quality.measure_feature_quality(model, images)
    assert quality.neighbor_stability > quality_before.neighbor_stability


@pytest.mark.parametrize("pretrain", [pretrain, neighbor_simclr.pretrain])
def test_resumed_pretraining_is_the_same(pretrain):
    images, _ = digits(150)
    uninterrupted, states = network(), []

    def keep_state(epochs_done, state):
        states.append(save_and_load(state))

    rows = pretrain(uninterrupted, images, after_epoch=keep_state, **arguments())
    resumed = network()
    assert pretrain(resumed, images, resume=states[1], **arguments()) == rows
    for name, value in uninterrupted.backbone.state_dict().items():
        assert torch.equal(value, resumed.backbone.state_dict()[name]), name


def test_quality_of_extreme_features(monkeypatch):
    """Images that augmentation does not change have stability 1; constant features have rank 1."""
    images, _ = digits(200)
    monkeypatch.setattr(
        type(images), "strong_batch", lambda images, indices, rng: images.plain_batch(indices)
    )

    class IdentityNetwork(torch.nn.Module):
        def forward(self, batch):
            flat = batch.flatten(1)
            return flat, flat

    class ConstantNetwork(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, batch):
            flat = torch.full((len(batch), 5), self.value)
            return flat, flat

    quality = feature_quality.measure_feature_quality(IdentityNetwork(), images)
    assert quality.neighbor_stability == 1 and 5 < quality.effective_rank < 64
    for value in (1.0, 0.0):
        quality = feature_quality.measure_feature_quality(ConstantNetwork(value), images)
        assert quality == (0, pytest.approx(1))


@pytest.mark.parametrize(
    "count, expected", [(1, 1), (2, 1), (3, 1 / 2), (12, 5 / 11), (23, 10 / 22)]
)
def test_agreement_of_few_images(count, expected):
    """With random features, one of k neighbours among n others survives with probability k / n."""
    images, _ = digits(count)
    torch.manual_seed(0)
    values = [neighbor_agreement(lambda b: torch.randn(len(b), 9), images, 0) for _ in range(40)]
    assert np.mean(values) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(
    "after, is_worse",
    [
        (FeatureQuality(0.5, 9), False),
        (FeatureQuality(0.31, 9), True),
        (FeatureQuality(0.5, 2), True),
        (FeatureQuality(float("nan"), 9), True),
        (FeatureQuality(0, 9), True),
    ],
)
def test_warning_where_features_are_no_better(caplog, monkeypatch, after, is_worse):
    monkeypatch.setattr(log, "propagate", True)
    feature_quality.log_feature_quality(FeatureQuality(0.3, 5), after)
    assert bool(warnings_in(caplog)) == is_worse


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_warning_about_spoiled_features(caplog, monkeypatch):
    """DeepCluster at the paper's learning rate on unit-length features loses the classes of digits,
    SimCLR does not."""
    monkeypatch.setattr(log, "propagate", True)
    images, _ = digits(400)
    settings = deepcluster_arguments(seed=0, clusters=0, epochs=8, batch_size=128, lr=0.05)
    _, qualities = pretrain_and_measure(deepcluster.pretrain, network(), images, **settings)
    feature_quality.log_feature_quality(*qualities)
    (warning,) = set(warnings_in(caplog))
    assert "--pretraining-method" in warning
    caplog.clear()
    _, qualities = pretrain_and_measure(pretrain, network(), images, **arguments(epochs=8))
    feature_quality.log_feature_quality(*qualities)
    assert not warnings_in(caplog)
