"""Numbers that are not finite end the run in one line: where, and which option to lower."""

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
PRE = "--add-unsupervised-pretraining --pretraining-epochs 1"


@pytest.fixture
def line(tmp_path, capsys):
    """Run main_al with options with which it must stop; -> the line that it says."""

    def run(*words):
        words = " ".join(words).split()
        assert main_al.main([*SHORT.split(), *words, "--out", str(tmp_path)]) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(told) == 1
        logs = sorted(tmp_path.rglob("log.txt"), key=lambda path: path.stat().st_mtime)
        assert f" stopped: {told[0].split('error: ')[1]}" in logs[-1].read_text()
        return told[0]

    return run


def test_a_rate_that_is_too_large(line):
    """After as few epochs as there are, too: what the last step left is not reported."""
    said = line("--lr 1e38")
    assert "error: cycle 1, epoch 1, step 2: the loss is not finite any more" in said
    assert said.endswith("use a smaller --lr, or --lr-rampup")
    said = line("--lr 1e38 --steps-per-epoch 1 --isL2 False")
    assert "error: cycle 1, epoch 1, " in said and said.endswith("--lr, or --lr-rampup")


@pytest.mark.parametrize(
    "method, rate", [("deepcluster", "1e20"), ("deepcluster", "1e38"), ("simclr", "1e20")]
)
def test_pretraining_names_its_own_option(line, tmp_path, method, rate):
    said = line(PRE, "--pretraining-method", method, "--pretraining-lr", rate)
    assert "error: pre-training, epoch 1, " in said
    assert said.endswith("use a smaller --pretraining-lr")
    assert not list(tmp_path.rglob("weights.pt"))


@pytest.mark.parametrize("words", ["--add-lp", "--al-method jlp"])
def test_a_system_that_float32_cannot_solve(line, words):
    said = line(words, "--lp-alpha 0.99999999")
    assert "error: the diffusion with alpha 0.99999999 did not converge: " in said
    assert " iterations, the largest residual is " in said
    assert said.endswith("use a smaller --lp-alpha")


def epoch(losses, rate=0.1, **more):
    """An epoch whose losses are given, as far as they go."""
    model, values = linear_model(), iter(losses)
    loss = lambda network, views: network(views[0].images)[0].sum() * 0 + next(values)  # noqa: E731
    optimizer = create_optimizer(model, lr=1, momentum=0, nesterov=False, weight_decay=0.1)
    batches = [(Batch(torch.zeros(2, 1, 2, 2), None, None),)] * len(losses)
    return train_epoch(model, optimizer, batches, loss, lr_schedule=lambda _: rate, **more)


@pytest.mark.parametrize(
    "losses, step",
    [
        ([np.nan, 1, 1], 1),
        ([1, np.nan, np.nan], 2),
        ([1, 1, np.inf], 3),
        ([np.inf, -np.inf], 1),
        ([3e38, 3e38], 2),  # their mean is not to be had
    ],
)
def test_the_first_step_is_named(losses, step):
    with pytest.raises(NotFinite, match=f"^here, step {step}: the loss is not.*: do less$"):
        epoch(losses, where="here", advice="do less")
    assert epoch([1, 2, 6]) == 3


def test_weights_that_the_last_step_leaves():
    with pytest.raises(NotFinite, match=r"^training, step 2: the weights .* use a smaller --lr"):
        epoch([1, 1], rate=1e38)


class Fragile(torch.nn.Module):
    """Black images give features that are no number, white ones no probabilities."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))[:, None]  # 0 to 1
        features = mean / mean
        logits = torch.where(mean == 1, torch.inf, torch.cat([mean, 1 - mean], dim=1))
        return logits, features


def test_images_are_counted_and_named():
    pixels = torch.full((20, 1, 2, 2), 100, dtype=torch.uint8)
    pixels[[3, 5, 8]] = 0
    pixels[[7, 9, 12, 15]] = 255
    images = ImageStore(pixels, [0], [1])
    for look in (extract_outputs, lambda *given: evaluate_accuracy(*given, np.zeros(20, np.int64))):
        with pytest.raises(
            NotFinite, match=r"^evaluation: .* for 7 of 20 .*\(index 3, 5, 7, 8, 9, "
        ):
            look(Fragile(), images)
    with pytest.raises(NotFinite, match=r"there: .* for 2 of 4 .*\(index 15, 3\): less$"):
        extract_outputs(
            Fragile(), images.subset(np.array([0, 15, 3, 1])), location="there", advice="less"
        )
    with pytest.raises(NotFinite, match=r"^cycle 3, evaluation: .* for 7 of 20 images"):
        NetworkOutputs(Fragile(), images, seed=1, cycle=2).get_tensors(["features"])
    features, _ = extract_outputs(Fragile(), images.subset(np.array([0, 1])))
    assert features.flatten().tolist() == [1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diffusion_of_what_is_no_number(value):
    """It neither goes on for ever nor gives what is no solution."""
    Y = np.ones((40, 2), np.float32)
    W = affinity(clustered(40), k=5) * np.float32(value)
    with pytest.raises(NotConverged, match=r"converge: 2 columns above 1e-06 after [01] it"):
        diffuse(W, Y)
