"""Training, evaluation, seeding, checkpoints."""

import io
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data.augment import ImageStore
from experiment.checkpoint import load_checkpoint, save_checkpoint
from models import create_model
from models.layers.dropout import HalfDropout
from models.layers.winograd import WinogradConv2d
from models.network import Network, linear_head
from training.epoch import train_epoch
from training.learner import Learner, compile_model, create_optimizer
from training.losses import Batch, WeightedLoss, image_losses
from training.lr_schedule import ScheduleOptions, learning_rate
from training.network_outputs import (
    OUTPUT_FUNCTIONS,
    NetworkOutputs,
    evaluate_accuracy,
    extract_outputs,
)
from utils.errors import UserError
from utils.ranking import tie_order, top_candidates
from utils.seeding import derive_seed, rng_for


def linear_model():
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, images):
            return self.layer(images.flatten(1)), images.flatten(1)

    torch.manual_seed(0)
    return Linear()


def test_weighted_step_follows_the_formula():
    model, images = linear_model(), torch.randn(5, 1, 2, 2)
    labels, weights = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1.0, 0.5, 0, 2, 0.25])
    optimizer = create_optimizer(model, lr=9, momentum=0, nesterov=False, weight_decay=0)
    before = [p.detach().clone() for p in model.parameters()]
    probs = model(images)[0].softmax(dim=1)
    loss = -(weights * probs[torch.arange(5), labels].log()).sum() / 5
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    batches = [(Batch(images, labels, weights),)]
    mean_loss = train_epoch(model, optimizer, batches, WeightedLoss(3), lr_schedule=lambda _: 0.1)
    assert mean_loss == pytest.approx(loss.item(), rel=1e-6)
    for old, gradient, new in zip(before, gradients, model.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient)


def test_loss_of_soft_targets_is_a_divergence():
    logits, target = torch.randn(6, 4), torch.rand(6, 4).softmax(dim=1)
    expected = (target * (target.log() - logits.log_softmax(dim=1))).sum(dim=1)
    torch.testing.assert_close(image_losses(logits, target), expected)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    hard = image_losses(logits, labels)
    torch.testing.assert_close(image_losses(logits, F.one_hot(labels, 4).float()), hard)


def test_learning_rates_within_an_epoch():
    model, fractions = linear_model(), []
    optimizer = create_optimizer(model, lr=1, momentum=0, nesterov=False, weight_decay=0)
    batches = [(Batch(torch.randn(2, 1, 2, 2), torch.tensor([0, 1]), torch.ones(2)),)] * 4
    schedule = lambda fraction: fractions.append(fraction) or 0.1  # noqa: E731
    train_epoch(model, optimizer, batches, WeightedLoss(3), lr_schedule=schedule)
    assert fractions == [i / 4 for i in range(4)]


class StatefulLoss(torch.nn.Module):
    """A loss that counts its steps and grows with them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, network, views):
        self.steps += 1
        return self.steps * network(views[0].images)[0].square().mean()


def make_learner(ema=0.9):
    return Learner(linear_model(), make_optimizer=create_optimizer, make_loss=StatefulLoss, ema=ema)


def train_steps(learner, count):
    generator = torch.Generator().manual_seed(int(learner.loss.steps))
    for _ in range(count):
        images = torch.randn(2, 1, 2, 2, generator=generator)
        batches = [(Batch(images, torch.tensor([0, 1]), torch.ones(2)),)]
        train_epoch(
            learner.network,
            learner.optimizer,
            batches,
            learner.loss,
            lr_schedule=lambda _: 0.1,
            after_step=learner.after_step,
        )


def test_averaged_weights_follow_the_recursion():
    """The first average is the weights after the first step; then the decay rises to --ema."""
    learner = make_learner(ema=0.35)
    train_steps(learner, 1)
    average = [p.detach().clone() for p in learner.model.parameters()]
    for decay in (2 / 11, 3 / 12, 4 / 13, 0.35, 0.35):
        train_steps(learner, 1)
        now = list(learner.model.parameters())
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, now, strict=True)]
    averaged = learner.eval_model.module.parameters()
    for expected, actual in zip(average, averaged, strict=True):
        torch.testing.assert_close(actual, expected)
    plain = make_learner(ema=0)
    assert plain.ema_model is None and plain.eval_model is plain.network


def test_learner_resumes_from_its_state():
    """A reloaded learner takes the same steps: momentum, average and loss buffers are restored."""
    uninterrupted, resumed = make_learner(), make_learner()
    train_steps(uninterrupted, 5)
    state = uninterrupted.state_dict(training=True)
    resumed.load_state_dict(save_and_load(state))
    for learner in (uninterrupted, resumed):
        train_steps(learner, 4)
    a, b = uninterrupted.state_dict(training=True), resumed.state_dict(training=True)
    for part in ("model", "averaged", "loss"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    assert float(uninterrupted.loss.steps) == 9
    uninterrupted.reset()
    assert float(uninterrupted.loss.steps) == 0 and not uninterrupted.optimizer.state


def save_and_load(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_outputs_are_computed_once_on_request(monkeypatch):
    """One pass computes features and probabilities; a stochastic output has its own seed."""
    calls = []

    def stochastic(network, images, amp):
        calls.append("stochastic")
        return {"stochastic": torch.rand(3)}

    def one_pass(network, images, amp):
        calls.append("pass")
        return {"features": torch.zeros(3), "probs": torch.ones(3)}

    for name, function in (("features", one_pass), ("probs", one_pass), ("s", stochastic)):
        monkeypatch.setitem(OUTPUT_FUNCTIONS, name, function)
    monkeypatch.setitem(OUTPUT_FUNCTIONS, "stochastic", stochastic)
    outputs = NetworkOutputs(None, range(3), seed=1, cycle=2)
    assert outputs.get_tensors(()) == {} and calls == []
    assert set(outputs.get_tensors(("probs",))) == {"probs"}
    assert set(outputs.get_tensors(("features", "probs"))) == {"features", "probs"}
    first = outputs.get_tensors(("stochastic",))["stochastic"]
    assert outputs.get_tensors(("stochastic",))["stochastic"] is first
    assert calls == ["pass", "stochastic"]

    def stochastic_output(cycle):
        outputs = NetworkOutputs(None, range(3), seed=1, cycle=cycle)
        return outputs.get_tensors(("stochastic",))["stochastic"]

    torch.manual_seed(5)
    assert torch.equal(stochastic_output(cycle=2), first)
    assert not torch.equal(stochastic_output(cycle=3), first)
    with pytest.raises(KeyError):
        outputs.get_tensors(("nonsense",))


def test_ramp_up():
    schedule = ScheduleOptions(lr=1, initial_lr=0.2, lr_rampup=4, lr_rampdown_epochs=100)
    rates = [learning_rate(epoch, schedule) for epoch in range(6)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == pytest.approx(0.5 * (math.cos(math.pi * 0.04) + 1))


def test_divergence_is_an_error():
    model = linear_model()
    optimizer = create_optimizer(model, lr=1, momentum=0, nesterov=False, weight_decay=0)
    batch = (Batch(torch.full((2, 1, 2, 2), 1e38), torch.tensor([0, 1]), torch.ones(2)),)
    with pytest.raises(UserError, match="smaller --lr"):
        train_epoch(model, optimizer, [batch] * 3, WeightedLoss(3), lr_schedule=lambda _: 1e30)


def test_extract_and_evaluate():
    pixels = torch.randint(256, (70, 1, 8, 8), dtype=torch.uint8)
    images = ImageStore(pixels, [0.5], [0.5], max_shift=1)
    model = create_model("small_cnn", 10, 1).train()
    features, probs = extract_outputs(model, images, batch_size=16)
    whole = extract_outputs(model, images, batch_size=70)
    assert features.shape == (70, 64) and probs.shape == (70, 10)
    torch.testing.assert_close(features, whole[0])
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(70))
    ranks = probs.argsort(dim=1, descending=True).numpy()
    index = np.arange(70)
    labels = np.where(index < 35, ranks[:, 0], np.where(index < 56, ranks[:, 4], ranks[:, 5]))
    assert evaluate_accuracy(model, images, labels) == (50.0, 80.0)


def test_compile_falls_back(monkeypatch, caplog):
    model, images = linear_model(), torch.randn(3, 1, 2, 2)

    def raise_error(*_, **__):
        raise RuntimeError("no compiler\nand a long explanation")

    monkeypatch.setattr(torch, "compile", raise_error)
    assert compile_model(model, images) is model
    assert "--compile" in caplog.text and caplog.messages[0].endswith(": no compiler")


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_compile_computes_the_same():
    """A network with every layer that is optimised for the CPU, in training and in evaluation."""
    torch.manual_seed(0)
    body = nn.Sequential(WinogradConv2d(128, 128, 3, padding=1), HalfDropout(), nn.Flatten())
    model = Network(body, 128 * 36, linear_head, 4)
    images = torch.randn(3, 128, 6, 6)
    fast = compile_model(model.eval(), images)
    assert fast is not model
    with torch.no_grad():  # as compile_model does, so that nothing is compiled again
        torch.testing.assert_close(fast(images), model(images), atol=1e-5, rtol=0)
    logits, features = fast.train()(images)
    assert abs((features == 0).float().mean() - 0.5) < 0.05
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_random_generators_are_independent_and_reproducible():
    keys = [(s, p, c, e) for s in (0, 1) for p in ("a", "b") for c in (0, 1) for e in (0, 1)]
    draws = {key: tuple(rng_for(*key).integers(2**40, size=3)) for key in keys}
    assert len(set(draws.values())) == 16
    assert draws[keys[5]] == tuple(rng_for(*keys[5]).integers(2**40, size=3))
    assert derive_seed(1, "a") == derive_seed(1, "a", 0, 0) != derive_seed(1, "b")


def test_top_candidates():
    scores = np.array([1.0, 3, 2, 3, 9])
    assert top_candidates(scores, 3, np.array([0, 1, 2, 3])).tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="NaN"):
        top_candidates(np.array([np.nan, 1]), 1, np.arange(2))
    places = tie_order(np.random.default_rng(0), 1000)
    np.testing.assert_array_equal(np.sort(places), np.arange(1000))
    everything, same = np.arange(1000), np.zeros(1000)
    same[[5, 700]] = 1
    picks = top_candidates(same, 1000, everything, places)
    assert set(picks[:2]) == {5, 700} and (np.diff(places[picks[2:]]) > 0).all()
    assert top_candidates(same, 1, everything, places)[0] == picks[0]
    used = np.random.default_rng(0)
    tie_order(used, 10)  # draws nothing from the generator itself
    assert used.random() == np.random.default_rng(0).random()
    assert tie_order(None, 4).tolist() == [0, 1, 2, 3]
    only_second = np.array([1])  # the scores of other images are ignored
    assert top_candidates(np.array([np.nan, 1]), 1, only_second).tolist() == [1]
    with pytest.raises(ValueError, match="cannot pick 5"):
        top_candidates(scores, 5, np.arange(4))


def test_checkpoints_are_checked(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"cycle": 3, "model": {"weight": torch.arange(5.0)}, "rows": {"results": [{"a": None}]}}
    save_checkpoint(path, state)
    again = load_checkpoint(path)
    assert torch.equal(again["model"]["weight"], state["model"]["weight"]) and again["cycle"] == 3
    # The file is also a plain torch file: users can read the weights without this project.
    assert torch.equal(torch.load(path, weights_only=True)["model"]["weight"], torch.arange(5.0))
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:200] + b"x" + whole[201:], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"checkpoint\.pt.* damaged"):
            load_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
