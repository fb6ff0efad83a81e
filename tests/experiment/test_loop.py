"""The loop of main_al.py, observed by recording components in every registry.

Which images a cycle trains on and with which labels, from which weights it starts, what it
evaluates, and which inputs the acquisition method gets.
"""

import csv
import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import main_al
from al_methods import METHODS
from al_methods.spec import Method
from data import DATASETS
from data.batches import BatchOptions, batches_of_used_images
from data.images import check_images
from data.spec import DatasetSpec
from models import ARCHS, Arch
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.losses import WeightedLoss
from unsup import PRETRAINERS, feature_quality
from unsup.spec import Pretrainer
from utils.options.option import OptionGroup, option

TRAIN, TEST, CLASSES = 60, 12, 4
TRUTH = np.random.default_rng(0).permutation(TRAIN) % CLASSES
PICKS = [[7, 3, 50, 21], [8, 59, 0, 33]]  # those already labeled are replaced by others


@dataclass(frozen=True)
class RecordedOptions(OptionGroup):
    section = "recorded"
    add_recorded: bool = option(False, "Train with the algorithm that records.")


def make_epoch_batches(targets, pool, rng, *, batch: BatchOptions, recorded: RecordedOptions):
    return batches_of_used_images(targets, pool, rng, batch=batch)


class Recorder:
    """The inputs of the components below, in order."""

    def __init__(self):
        self.passes, self.losses, self.picks, self.gradients = [], [], [], []

    def training(self, cycle: int) -> list[dict]:
        """The forward passes of the training of a cycle; a pick marks the end of a cycle."""
        return [p for p in self.passes if p["training"] and p["cycle"] == cycle]


def load(root: str):
    """Image i has the grey value i in all pixels; the test images come after all others."""
    shades = np.arange(TRAIN + TEST)[:, None, None, None] * np.ones((1, 1, 8, 8))
    labels = np.concatenate([TRUTH, np.arange(TEST) % CLASSES])
    return check_images(shades[:TRAIN], labels[:TRAIN]), check_images(
        shades[TRAIN:], labels[TRAIN:]
    )


def indices(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().long().tolist()


@pytest.fixture
def record(monkeypatch):
    """An entry named "recorded" in every registry; returns what they record."""
    record = Recorder()

    class Backbone(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            self.layer = nn.Linear(1, 3)

        def forward(self, images):
            weight = self.layer.weight.detach().clone()
            record.passes.append(
                {
                    "cycle": len(record.picks),
                    "training": self.training,
                    "images": indices(images),
                    "weight": weight,
                }
            )
            return self.layer(images[:, :, 0, 0])

    class Loss(WeightedLoss):
        def forward(self, network, batches):
            for batch in batches:
                targets = zip(indices(batch.images), batch.targets.tolist(), strict=True)
                record.losses.append((len(record.picks), dict(targets)))
            loss = super().forward(network, batches)
            weight = network.backbone.layer.weight
            (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
            record.gradients.append((len(record.picks), gradient))
            return loss

    def pick(*, features, probs, labels, budget, rng):
        record.picks.append({"features": features, "probs": probs, "labels": labels.copy()})
        unlabeled = np.flatnonzero(labels < 0)
        first = [i for i in PICKS[len(record.picks) - 1] if i in unlabeled]
        return np.array([*first, *[i for i in unlabeled if i not in first]][:budget])

    def pretrain(model, images, **options):
        with torch.no_grad():
            model.backbone.layer.weight.fill_(0.5)
        return [{"epoch": 0}]

    spec = DatasetSpec(
        load, CLASSES, channels=1, size=8, max_shift=0, flip=False, mean=(0.0,), std=(1.0,),
        defaults={"arch": "recorded"},
    )  # fmt: skip
    monkeypatch.setitem(DATASETS, "recorded", spec)
    monkeypatch.setitem(ARCHS, "recorded", Arch(Backbone, feature_dim=3))
    monkeypatch.setitem(METHODS, "recorded", Method(pick, needs=("probs", "features")))
    monkeypatch.setitem(
        ALGORITHMS, "recorded", Algorithm(make_loss=Loss, epoch_batches=make_epoch_batches)
    )
    monkeypatch.setitem(PRETRAINERS, "recorded", Pretrainer(pretrain, columns=("epoch",)))
    monkeypatch.setattr(
        feature_quality,
        "measure_feature_quality",
        lambda *inputs: feature_quality.FeatureQuality(1.0, 1.0),
    )
    return record


WORDS = (
    "--dataset recorded --al-method recorded --add-recorded --al-budget 4 --al-nb-cycles 3 "
    "--epochs 2 --isL2 False --device cpu --lr 0.05"
)


def run(tmp_path, *more):
    """The last checkpoint of a run."""
    words = [*WORDS.split(), "--out", str(tmp_path), *more]
    assert main_al.main(words) == 0
    checkpoint = next(tmp_path.rglob("split0/checkpoint.pt"))
    return torch.load(checkpoint, weights_only=True)


def images_by_cycle(checkpoint) -> list[set[int]]:
    """The images whose labels are known in each cycle."""
    order = checkpoint["state"]["pool"]["labeled_order"].tolist()
    return [set(order[: 4 * (cycle + 1)]) for cycle in range(3)]


def test_a_cycle_trains_on_the_labeled_images_with_their_labels(record, tmp_path):
    known = images_by_cycle(run(tmp_path))
    assert [len(images) for images in known] == [4, 8, 12]
    for cycle in range(3):
        trained = [image for p in record.training(cycle) for image in p["images"]]
        assert sorted(trained) == sorted([*known[cycle]] * 2)  # once in each of two epochs
        for c, targets in record.losses:
            if c == cycle:
                assert targets == {image: TRUTH[image] for image in targets}
    last = [image for c, targets in record.losses if c == 2 for image in targets]
    assert sorted(last) == sorted([*known[2]] * 2)


def test_the_method_gets_outputs_of_the_current_network(record, tmp_path):
    known = images_by_cycle(run(tmp_path))
    assert len(record.picks) == 2  # none after the last cycle
    for cycle, inputs in enumerate(record.picks):
        expected = np.full(TRAIN, -1)
        expected[[*known[cycle]]] = TRUTH[[*known[cycle]]]
        np.testing.assert_array_equal(inputs["labels"], expected)
        new = known[cycle + 1] - known[cycle]
        assert new >= set(PICKS[cycle]) - known[cycle]  # the picks are labeled next
        # Features of all training images in order, with the weights that the evaluation had.
        passes = [p for p in record.passes if not p["training"] and p["cycle"] == cycle]
        evaluated, extracted = passes[-2:]
        assert evaluated["images"] == list(range(TRAIN, TRAIN + TEST))
        assert extracted["images"] == list(range(TRAIN))
        assert torch.equal(evaluated["weight"], extracted["weight"])
        assert inputs["features"].shape == (TRAIN, 3) and inputs["probs"].shape == (TRAIN, CLASSES)
        slope = (inputs["features"][1] - inputs["features"][0]) * 255
        torch.testing.assert_close(slope, extracted["weight"][:, 0], atol=1e-4, rtol=1e-4)


def test_the_last_weights_are_evaluated(record, tmp_path):
    last = run(tmp_path)
    evaluated = [p for p in record.passes if p["images"] == list(range(TRAIN, TRAIN + TEST))]
    assert [p["cycle"] for p in evaluated] == [0, 1, 2] and not any(
        p["training"] for p in evaluated
    )
    assert torch.equal(evaluated[-1]["weight"], last["model"]["backbone.layer.weight"])
    for cycle, p in enumerate(evaluated):  # after the last step, not before it
        assert not torch.equal(p["weight"], record.training(cycle)[-1]["weight"])


def test_averaged_weights_are_evaluated_and_give_the_features(record, tmp_path):
    last = run(tmp_path, "--ema", "0.5")
    evaluated = [p for p in record.passes if p["images"] == list(range(TRAIN, TRAIN + TEST))]
    extracted = [p for p in record.passes if p["images"] == list(range(TRAIN))]
    for p, q in zip(evaluated, extracted, strict=False):
        assert torch.equal(p["weight"], q["weight"])
    averaged = last["averaged"]["module.backbone.layer.weight"]
    assert torch.equal(evaluated[-1]["weight"], averaged)
    assert not torch.equal(averaged, last["model"]["backbone.layer.weight"])


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("finetuning", [False, True])
def test_the_weights_a_cycle_starts_from(record, tmp_path, pretrained, finetuning):
    words = ["--finetuning"] if finetuning else []
    words += ["--add-unsupervised-pretraining", "--pretraining-method", "recorded"] * pretrained
    run(tmp_path, *words)
    starts = [record.training(cycle)[0]["weight"] for cycle in range(3)]
    ends = [p["weight"] for p in record.passes if p["images"] == list(range(TRAIN, TRAIN + TEST))]
    for cycle in range(3):
        if finetuning and cycle:
            assert torch.equal(starts[cycle], ends[cycle - 1])
        elif pretrained:
            assert (starts[cycle] == 0.5).all()
    if not finetuning and not pretrained:
        assert len({tuple(start.flatten().tolist()) for start in [*starts, *ends]}) == 6


@pytest.mark.parametrize("substitute", [False, True])
def test_pretrained_features(record, tmp_path, monkeypatch, substitute, capsys):
    """The same in every cycle, computed only once. Without pre-training they are refused, unless
    the method can also use the features of the network."""
    inputs, name = [], "features" if substitute else "pretrained_features"

    def pick(*, labels, budget, rng, **needs):
        inputs.append(needs[name])
        return np.flatnonzero(labels < 0)[:budget]

    substitutes = {"features": "pretrained_features"} if substitute else {}
    monkeypatch.setitem(METHODS, "recorded", Method(pick, needs=(name,), substitutes=substitutes))
    run(tmp_path, "--add-unsupervised-pretraining", "--pretraining-method", "recorded")
    assert len(inputs) == 2 and torch.equal(*inputs)
    shades = torch.arange(TRAIN)[:, None] / 255
    torch.testing.assert_close(inputs[0] - inputs[0][:1], 0.5 * shades.expand(-1, 3))
    passes = [p for p in record.passes if p["images"] == list(range(TRAIN))]
    assert len(passes) == 1 and not passes[0]["training"]
    if substitute:
        run(tmp_path / "supervised")
        assert len(inputs) == 4 and not torch.equal(*inputs[2:])
        return
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "supervised")
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert "recorded" in error and "--add-unsupervised-pretraining" in error
    assert not (tmp_path / "supervised").exists()


@pytest.mark.parametrize("finetuning", [False, True])
def test_no_momentum_is_carried_into_the_next_cycle(record, tmp_path, finetuning):
    """The first step is that of a fresh optimizer: (1 + momentum) times lr times gradient."""
    run(tmp_path, "--weight-decay", "0", *["--finetuning"] * finetuning)
    for cycle in range(3):
        before, after = (p["weight"] for p in record.training(cycle)[:2])
        gradient = next(g for c, g in record.gradients if c == cycle)
        torch.testing.assert_close(after, before - 0.05 * 1.9 * gradient)


def test_acquired_csv_lists_the_picks_of_each_cycle(record, tmp_path):
    known = images_by_cycle(run(tmp_path))
    with open(next(tmp_path.rglob("acquired.csv")), newline="") as file:
        rows = [tuple(map(int, row.values())) for row in csv.DictReader(file)]
    assert [row[:2] for row in rows] == [(c, o) for c in (0, 1) for o in range(4)]
    for cycle in (0, 1):
        picks = {index for c, _, index, _ in rows if c == cycle}
        assert picks == known[cycle + 1] - known[cycle]
    assert all(label == TRUTH[index] for _, _, index, label in rows)


@pytest.mark.parametrize("training", ["--add-lp --lp-k 5", "--add-ceal --ceal-th 1"])
@pytest.mark.parametrize("method", ["recorded", "coreset", "jlp", "uncertainty_entropy"])
def test_hidden_labels_have_no_influence(record, tmp_path, monkeypatch, method, training):
    """With other labels of images that are never queried, picks, weights and accuracy stay the
    same; only the accuracy of the pseudo-labels changes."""
    words = ["--add-recorded", "false", *training.split(), "--al-method", method]

    def run_again(name):
        record.__init__()
        checkpoint = run(tmp_path / name, *words)
        return checkpoint, [dict(row) for row in checkpoint["rows"]["results"]]

    last, results = run_again("a")
    known = last["state"]["pool"]["labeled_order"].numpy()
    hidden = np.setdiff1d(np.arange(TRAIN), known)
    train, test = load("")
    labels = train.labels.copy()
    labels[hidden] = (labels[hidden] + 1) % CLASSES
    other = lambda root: (check_images(train.pixels, labels), test)  # noqa: E731
    # The split depends on all labels; its file keeps it the same.
    monkeypatch.setitem(DATASETS, "recorded", dataclasses.replace(DATASETS["recorded"], load=other))
    again, changed = run_again("b")
    np.testing.assert_array_equal(again["state"]["pool"]["labeled_order"].numpy(), known)
    assert all(torch.equal(last["model"][n], again["model"][n]) for n in last["model"])
    accuracies = [row.pop("pseudo_accuracy") for row in results]
    assert accuracies != [row.pop("pseudo_accuracy") for row in changed]
    assert results == changed
