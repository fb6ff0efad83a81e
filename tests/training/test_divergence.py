"""Values that are not finite stop the run with one line: where, and which option to lower."""

import numpy as np
import pytest
import torch

import main_al
from data.augment import ImageStore
from tests.training.test_training import linear_model
from tests.utils.test_graph import clustered
from training.epoch import train_epoch
from training.finite import NotFinite
from training.learner import create_optimizer
from training.losses import Batch
from training.network_outputs import NetworkOutputs, evaluate_accuracy, extract_outputs
from utils.diffusion import NotConverged, diffuse
from utils.graph import affinity

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 1 --steps-per-epoch 3 --device cpu"
PRETRAINING = "--add-unsupervised-pretraining --pretraining-epochs 1"


@pytest.fixture
def error_of(tmp_path, capsys):
    """A function that runs main_al with options with which it must stop, and returns the error."""

    def run(*options):
        words = " ".join(options).split()
        assert main_al.main([*SHORT.split(), *words, "--out", str(tmp_path)]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(lines) == 1
        message = lines[0].split("error: ")[1]
        logs = sorted(tmp_path.rglob("log.txt"), key=lambda path: path.stat().st_mtime)
        assert f" stopped: {message}" in logs[-1].read_text()
        return message

    return run


def test_too_large_learning_rate(error_of):
    """Also where only the last step of the run makes the weights not finite."""
    message = error_of("--lr 1e38")
    assert message.startswith("cycle 1, epoch 1, step 2: ") and "not finite" in message
    assert message.endswith("use a smaller --lr, or --lr-rampup")
    message = error_of("--lr 1e38 --steps-per-epoch 1 --isL2 False")
    assert message.startswith("cycle 1, epoch 1, ") and message.endswith("--lr, or --lr-rampup")


@pytest.mark.parametrize(
    "method, rate", [("deepcluster", "1e20"), ("deepcluster", "1e38"), ("simclr", "1e20")]
)
def test_pretraining_names_its_own_option(error_of, tmp_path, method, rate):
    message = error_of(PRETRAINING, "--pretraining-method", method, "--pretraining-lr", rate)
    assert message.startswith("pre-training, epoch 1, ")
    assert message.endswith("use a smaller --pretraining-lr")
    assert not list(tmp_path.rglob("weights.pt"))


@pytest.mark.parametrize("option", ["--add-lp", "--al-method jlp"])
def test_system_that_float32_cannot_solve(error_of, option):
    message = error_of(option, "--lp-alpha 0.99999999")
    assert "0.99999999 did not converge" in message and "residual" in message
    assert message.endswith("use a smaller --lp-alpha")


def train_with_losses(losses, rate=0.1, **settings):
    """Train for an epoch in which the loss of each step is one of `losses`."""
    model, values = linear_model(), iter(losses)
    loss = lambda network, views: network(views[0].images)[0].sum() * 0 + next(values)  # noqa: E731
    optimizer = create_optimizer(model, lr=1, momentum=0, nesterov=False, weight_decay=0.1)
    batches = [(Batch(torch.zeros(2, 1, 2, 2), None, None),)] * len(losses)
    return train_epoch(model, optimizer, batches, loss, lr_schedule=lambda _: rate, **settings)


@pytest.mark.parametrize(
    "losses, step",
    [
        ([np.nan, 1, 1], 1),
        ([1, np.nan, np.nan], 2),
        ([1, 1, np.inf], 3),
        ([np.inf, -np.inf], 1),
        ([3e38, 3e38], 2),  # their sum overflows
    ],
)
def test_first_bad_step_is_named(losses, step):
    with pytest.raises(NotFinite, match=f"^here, step {step}: .*loss.* not finite: do less$"):
        train_with_losses(losses, location="here", advice="do less")
    assert train_with_losses([1, 2, 6]) == 3


def test_weights_after_the_last_step():
    with pytest.raises(NotFinite, match=r"^training, step 2: .*weights .* use a smaller --lr"):
        train_with_losses([1, 1], rate=1e38)


class FragileNetwork(torch.nn.Module):
    """Black images give NaN features, white ones infinite logits."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))[:, None]  # 0 to 1
        features = mean / mean
        logits = torch.where(mean == 1, torch.inf, torch.cat([mean, 1 - mean], dim=1))
        return logits, features


def test_bad_images_are_counted_and_listed():
    pixels = torch.full((20, 1, 2, 2), 100, dtype=torch.uint8)
    pixels[[3, 5, 8]] = 0
    pixels[[7, 9, 12, 15]] = 255
    images = ImageStore(pixels, [0], [1])
    network, listed = FragileNetwork(), r"^evaluation: .* 7 of 20 .*\(index 3, 5, 7, 8, 9, \.\.\.\)"
    with pytest.raises(NotFinite, match=listed):
        extract_outputs(network, images)
    with pytest.raises(NotFinite, match=listed):
        evaluate_accuracy(network, images, np.zeros(20, np.int64))
    part = images.subset(np.array([0, 15, 3, 1]))
    with pytest.raises(NotFinite, match=r"there: .* 2 of 4 .*\(index 15, 3\): less$"):
        extract_outputs(network, part, location="there", advice="less")
    with pytest.raises(NotFinite, match=r"^cycle 3, evaluation: .* 7 of 20 images"):
        NetworkOutputs(network, images, seed=1, cycle=2).get_tensors(["features"])
    features, _ = extract_outputs(network, images.subset(np.array([0, 1])))
    assert features.flatten().tolist() == [1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_diffusion_on_a_graph_that_is_not_finite(value):
    """It neither runs forever nor returns a wrong solution."""
    Y = np.ones((40, 2), np.float32)
    W = affinity(clustered(40), k=5) * np.float32(value)
    with pytest.raises(NotConverged, match=r"converge: 2 columns above 1e-06 after [01] it"):
        diffuse(W, Y)
