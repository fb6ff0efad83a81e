"""Training, evaluation, seeding, checkpoints."""

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
from training import learner as learner_module
from training.epoch import train_epoch
from training.learner import Learner, compile_model, create_optimizer
from training.losses import Batch, WeightedLoss, image_losses
from training.lr_schedule import learning_rate
from training.network_outputs import (
    OUTPUT_FUNCTIONS,
    NetworkOutputs,
    evaluate_accuracy,
    extract_outputs,
)
from utils.errors import UserError
from utils.ranking import top_candidates
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


def test_weighted_step_is_the_formula():
    model, images = linear_model(), torch.randn(5, 1, 2, 2)
    labels, weights = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1.0, 0.5, 0, 2, 0.25])
    optimizer = create_optimizer(model, lr=9, momentum=0, nesterov=False, weight_decay=0)
    before = [p.detach().clone() for p in model.parameters()]
    probs = model(images)[0].softmax(dim=1)
    loss = -(weights * probs[torch.arange(5), labels].log()).sum() / 5
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    batches = [(Batch(images, labels, weights),)]
    given = train_epoch(model, optimizer, batches, WeightedLoss(3), lr_schedule=lambda _: 0.1)
    assert given == pytest.approx(loss.item(), rel=1e-6)
    for old, gradient, new in zip(before, gradients, model.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient)


def test_soft_targets_are_a_divergence():
    logits, target = torch.randn(6, 4), torch.rand(6, 4).softmax(dim=1)
    expected = (target * (target.log() - logits.log_softmax(dim=1))).sum(dim=1)
    torch.testing.assert_close(image_losses(logits, target), expected)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    hard = image_losses(logits, labels)
    torch.testing.assert_close(image_losses(logits, F.one_hot(labels, 4).float()), hard)


def test_rates_within_an_epoch():
    model, seen = linear_model(), []
    optimizer = create_optimizer(model, lr=1, momentum=0, nesterov=False, weight_decay=0)
    batches = [(Batch(torch.randn(2, 1, 2, 2), torch.tensor([0, 1]), torch.ones(2)),)] * 4
    rate = lambda done: seen.append(done) or 0.1  # noqa: E731
    train_epoch(model, optimizer, batches, WeightedLoss(3), lr_schedule=rate)
    assert seen == [i / 4 for i in range(4)]


class Remembering(torch.nn.Module):
    """A loss that counts its steps and gets harder with them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, network, views):
        self.steps += 1
        return self.steps * network(views[0].images)[0].square().mean()


def learner(ema=0.9):
    return Learner(linear_model(), make_optimizer=create_optimizer, make_loss=Remembering, ema=ema)


def steps(some, count):
    generator = torch.Generator().manual_seed(int(some.loss.steps))
    for _ in range(count):
        images = torch.randn(2, 1, 2, 2, generator=generator)
        batches = [(Batch(images, torch.tensor([0, 1]), torch.ones(2)),)]
        train_epoch(
            some.network, some.optimizer, batches, some.loss, lr_schedule=lambda _: 0.1,
            after_step=some.after_step,
        )  # fmt: skip


def test_averaged_weights_are_the_recursion():
    """The first average is the weights after the first step, later ones decay, slowly at last."""
    one = learner(ema=0.35)
    steps(one, 1)
    average = [p.detach().clone() for p in one.model.parameters()]
    for decay in (2 / 11, 3 / 12, 4 / 13, 0.35, 0.35):
        steps(one, 1)
        now = list(one.model.parameters())
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, now, strict=True)]
    for wanted, found in zip(average, one.eval_model.module.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)
    assert learner(ema=0).eval_model is not one.eval_model and learner(ema=0).ema_model is None


def test_a_learner_goes_on_with_all_that_it_had():
    """Momentum, average and what the loss remembers: after a load the same steps are the same."""
    whole, again = learner(), learner()
    steps(whole, 5)
    state = whole.state_dict(training=True)
    state = torch.load(saved(state), weights_only=True)
    again.load_state_dict(state)
    for one in (whole, again):
        steps(one, 4)
    a, b = whole.state_dict(training=True), again.state_dict(training=True)
    for part in ("model", "averaged", "loss"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    assert float(whole.loss.steps) == 9
    whole.reset()
    assert float(whole.loss.steps) == 0 and not whole.optimizer.state


def saved(state):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def test_outputs_are_computed_once_when_asked_for(monkeypatch):
    """One pass gives features and probabilities; a stochastic one has a seed of its own."""
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
    assert set(outputs.get_tensors(("probs",))) == {"probs"} and set(
        outputs.get_tensors(("features", "probs"))
    )
    first = outputs.get_tensors(("stochastic",))["stochastic"]
    assert (
        calls == ["pass", "stochastic"]
        and outputs.get_tensors(("stochastic",))["stochastic"] is first
    )
    torch.manual_seed(5)
    again = NetworkOutputs(None, range(3), seed=1, cycle=2).get_tensors(("stochastic",))[
        "stochastic"
    ]
    other = NetworkOutputs(None, range(3), seed=1, cycle=3).get_tensors(("stochastic",))[
        "stochastic"
    ]
    assert torch.equal(again, first) and not torch.equal(other, first)
    with pytest.raises(KeyError):
        outputs.get_tensors(("nonsense",))


def test_ramp_up():
    rate = [learning_rate(e, lr=1, initial_lr=0.2, rampup=4, rampdown=100) for e in range(6)]
    assert rate[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rate[4] == pytest.approx(0.5 * (math.cos(math.pi * 0.04) + 1))


def test_divergence_is_told():
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
    labels = np.where(
        np.arange(70) < 35, ranks[:, 0], np.where(np.arange(70) < 56, ranks[:, 4], ranks[:, 5])
    )
    assert evaluate_accuracy(model, images, labels) == (50.0, 80.0)


def test_compile_falls_back(monkeypatch):
    model, images = linear_model(), torch.randn(3, 1, 2, 2)

    def broken(*_, **__):
        raise RuntimeError("no compiler\nand a long story")

    said = []
    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(learner_module.log, "warning", lambda *words: said.append(words))
    assert compile_model(model, images) is model
    assert said == [("--compile has no effect here: %s", "no compiler")]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler here")
def test_compile_computes_the_same():
    """A network with every layer written for speed, in training and in evaluation."""
    torch.manual_seed(0)
    body = nn.Sequential(WinogradConv2d(128, 128, 3, padding=1), HalfDropout(), nn.Flatten())
    model = Network(body, 128 * 36, linear_head, 4)
    images = torch.randn(3, 128, 6, 6)
    fast = compile_model(model, images)
    assert fast is not model
    torch.testing.assert_close(fast.eval()(images), model.eval()(images), atol=1e-5, rtol=0)
    logits, features = fast.train()(images)
    assert abs((features == 0).float().mean() - 0.5) < 0.05
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_streams_are_independent_and_repeat():
    keys = [(s, p, c, e) for s in (0, 1) for p in ("a", "b") for c in (0, 1) for e in (0, 1)]
    draws = {key: tuple(rng_for(*key).integers(2**40, size=3)) for key in keys}
    assert len(set(draws.values())) == 16
    assert draws[keys[5]] == tuple(rng_for(*keys[5]).integers(2**40, size=3))
    assert derive_seed(1, "a") == derive_seed(1, "a", 0, 0) != derive_seed(1, "b")


def test_top():
    scores = np.array([1.0, 3, 2, 3, 9])
    assert top_candidates(scores, 3, np.array([0, 1, 2, 3])).tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="not a number"):
        top_candidates(np.array([np.nan, 1]), 1, np.arange(2))
    assert top_candidates(np.array([np.nan, 1]), 1, np.array([1])).tolist() == [
        1
    ]  # only candidates count
    with pytest.raises(ValueError, match="5 picks"):
        top_candidates(scores, 5, np.arange(4))


def test_checkpoints_are_checked(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"cycle": 3, "model": {"weight": torch.arange(5.0)}, "rows": {"results": [{"a": None}]}}
    save_checkpoint(path, state)
    again = load_checkpoint(path)
    assert torch.equal(again["model"]["weight"], state["model"]["weight"]) and again["cycle"] == 3
    # The file is also a plain torch file: users read the weights without us.
    assert torch.equal(torch.load(path, weights_only=True)["model"]["weight"], torch.arange(5.0))
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:200] + b"x" + whole[201:], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged: delete it"):
            load_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
