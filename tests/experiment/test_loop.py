"""What the loop is for, seen by recording parts in the registries' rows.

Which images a cycle trains on, with which labels, what it starts from, what it evaluates and with
what, what the method is given.
"""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import main_al
from al_methods import METHODS
from al_methods.spec import Method
from data import DATASETS
from data.spec import DatasetSpec, check_images
from models import ARCHS, Arch
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.losses import WeightedLoss
from unsup import PRETRAINERS, feature_quality
from unsup.spec import Pretrainer

TRAIN, TEST, CLASSES = 60, 12, 4
TRUTH = np.random.default_rng(0).permutation(TRAIN) % CLASSES
PICKS = [[7, 3, 50, 21], [8, 59, 0, 33]]  # replaced, where a split has them, by others


class Recorder:
    """What the parts below were given, in order."""

    def __init__(self):
        self.passes, self.losses, self.picks, self.gradients = [], [], [], []

    def training(self, cycle: int) -> list[dict]:
        """The passes of a cycle's training: the picks mark where a cycle ends."""
        return [p for p in self.passes if p["training"] and p["cycle"] == cycle]


def load(root: str):
    """Every image is grey all over, its number its shade: test images come after all others."""
    shades = np.arange(TRAIN + TEST)[:, None, None, None] * np.ones((1, 1, 8, 8))
    labels = np.concatenate([TRUTH, np.arange(TEST) % CLASSES])
    return check_images(shades[:TRAIN], labels[:TRAIN]), check_images(
        shades[TRAIN:], labels[TRAIN:]
    )


def indices(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().long().tolist()


@pytest.fixture
def record(monkeypatch):
    """The rows, each with a recording part, all named "recorded"."""
    record = Recorder()

    class Backbone(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            self.layer = nn.Linear(1, 3)

        def forward(self, images):
            weight = self.layer.weight.detach().clone()
            seen = {"training": self.training, "images": indices(images), "weight": weight}
            record.passes.append(seen | {"cycle": len(record.picks)})
            return self.layer(images[:, :, 0, 0])

    class Loss(WeightedLoss):
        def forward(self, network, views):
            for view in views:
                shown = zip(indices(view.images), view.targets.tolist(), strict=True)
                record.losses.append((len(record.picks), dict(shown)))
            loss = super().forward(network, views)
            weight = network.backbone.layer.weight
            (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
            record.gradients.append((len(record.picks), gradient))
            return loss

    def pick(*, features, probs, labels, budget, rng):
        given = {"features": features, "probs": probs, "labels": labels.copy()}
        record.picks.append(given)
        free = np.flatnonzero(labels < 0)
        wanted = [i for i in PICKS[len(record.picks) - 1] if i in free]
        return np.array([*wanted, *[i for i in free if i not in wanted]][:budget])

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
        ALGORITHMS, "recorded", Algorithm(title="recorded", summary="record", make_loss=Loss)
    )
    monkeypatch.setitem(PRETRAINERS, "recorded", Pretrainer(pretrain, columns=("epoch",)))
    monkeypatch.setattr(
        feature_quality,
        "measure_feature_quality",
        lambda *given: feature_quality.FeatureQuality(1.0, 1.0),
    )
    return record


WORDS = (
    "--dataset recorded --al-method recorded --add-recorded --al-budget 4 --al-nb-cycles 3 "
    "--epochs 2 --isL2 False --device cpu --lr 0.05"
)


def run(tmp_path, *more):
    words = [*WORDS.split(), "--out", str(tmp_path), *more]
    assert main_al.main(words) == 0
    checkpoint = next(tmp_path.rglob("split0/checkpoint.pt"))
    return torch.load(checkpoint, weights_only=True)


def revealed(record, last) -> list[set[int]]:
    """The images whose labels are known in each cycle."""
    order = last["state"]["pool"]["order"].tolist()
    return [set(order[: 4 * (cycle + 1)]) for cycle in range(3)]


def test_a_cycle_trains_on_what_is_revealed_and_with_its_labels(record, tmp_path):
    known = revealed(record, run(tmp_path))
    assert [len(images) for images in known] == [4, 8, 12]
    for cycle in range(3):
        seen = [image for p in record.training(cycle) for image in p["images"]]
        assert sorted(seen) == sorted([*known[cycle]] * 2)  # two epochs, each image once in each
        for c, targets in record.losses:
            if c == cycle:
                assert targets == {image: TRUTH[image] for image in targets}
    last = [image for c, targets in record.losses if c == 2 for image in targets]
    assert sorted(last) == sorted([*known[2]] * 2)


def test_the_method_is_given_what_the_network_says_now(record, tmp_path):
    known = revealed(record, run(tmp_path))
    assert len(record.picks) == 2  # none after the last cycle
    for cycle, given in enumerate(record.picks):
        expected = np.full(TRAIN, -1)
        expected[[*known[cycle]]] = TRUTH[[*known[cycle]]]
        np.testing.assert_array_equal(given["labels"], expected)
        new = known[cycle + 1] - known[cycle]
        assert new >= set(PICKS[cycle]) - known[cycle]  # what was picked is what comes next
        # Features of all training images in order, with the weights that the evaluation had.
        passes = [p for p in record.passes if not p["training"] and p["cycle"] == cycle]
        judged, extracted = passes[-2:]
        assert judged["images"] == list(range(TRAIN, TRAIN + TEST))
        assert extracted["images"] == list(range(TRAIN))
        assert torch.equal(judged["weight"], extracted["weight"])
        assert given["features"].shape == (TRAIN, 3) and given["probs"].shape == (TRAIN, CLASSES)
        slope = (given["features"][1] - given["features"][0]) * 255
        torch.testing.assert_close(slope, extracted["weight"][:, 0], atol=1e-4, rtol=1e-4)


def test_what_is_evaluated_are_the_last_weights(record, tmp_path):
    last = run(tmp_path)
    judged = [p for p in record.passes if p["images"] == list(range(TRAIN, TRAIN + TEST))]
    assert [p["cycle"] for p in judged] == [0, 1, 2] and not any(p["training"] for p in judged)
    assert torch.equal(judged[-1]["weight"], last["model"]["backbone.layer.weight"])
    for cycle, p in enumerate(judged):  # after the last step, not before it
        assert not torch.equal(p["weight"], record.training(cycle)[-1]["weight"])


def test_averaged_weights_are_what_is_evaluated_and_extracted(record, tmp_path):
    last = run(tmp_path, "--ema", "0.5")
    judged = [p for p in record.passes if p["images"] == list(range(TRAIN, TRAIN + TEST))]
    extracted = [p for p in record.passes if p["images"] == list(range(TRAIN))]
    for p, q in zip(judged, extracted, strict=False):
        assert torch.equal(p["weight"], q["weight"])
    averaged = last["averaged"]["module.backbone.layer.weight"]
    assert torch.equal(judged[-1]["weight"], averaged)
    assert not torch.equal(averaged, last["model"]["backbone.layer.weight"])


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("finetuning", [False, True])
def test_what_a_cycle_starts_from(record, tmp_path, pretrained, finetuning):
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


@pytest.mark.parametrize("rather", [False, True])
def test_features_of_before_any_label(record, tmp_path, monkeypatch, rather, capsys):
    """Given in every cycle, computed in the first alone; refused where there is no pre-training,
    unless the method does with the network's own."""
    given, name = [], "features" if rather else "pretrained_features"

    def pick(*, labels, budget, rng, **needed):
        given.append(needed[name])
        return np.flatnonzero(labels < 0)[:budget]

    better = {"features": "pretrained_features"} if rather else {}
    monkeypatch.setitem(METHODS, "recorded", Method(pick, needs=(name,), substitutes=better))
    run(tmp_path, "--add-unsupervised-pretraining", "--pretraining-method", "recorded")
    assert len(given) == 2 and torch.equal(*given)
    shades = torch.arange(TRAIN)[:, None] / 255
    torch.testing.assert_close(given[0] - given[0][:1], 0.5 * shades.expand(-1, 3))
    whole = [p for p in record.passes if p["images"] == list(range(TRAIN))]
    assert len(whole) == 1 and not whole[0]["training"]
    if rather:
        run(tmp_path / "labels alone")
        assert len(given) == 4 and not torch.equal(*given[2:])
        return
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "labels alone")
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.count("\n") == 1
    assert "recorded" in told and "--add-unsupervised-pretraining" in told
    assert not (tmp_path / "labels alone").exists()


@pytest.mark.parametrize("finetuning", [False, True])
def test_no_momentum_is_carried_into_the_next_cycle(record, tmp_path, finetuning):
    """The first step of a cycle is that of a fresh optimizer: (1 + momentum) lr times gradient."""
    run(tmp_path, "--weight-decay", "0", *["--finetuning"] * finetuning)
    for cycle in range(3):
        before, after = (p["weight"] for p in record.training(cycle)[:2])
        gradient = next(g for c, g in record.gradients if c == cycle)
        torch.testing.assert_close(after, before - 0.05 * 1.9 * gradient)


def test_acquired_csv_says_what_was_picked_after_which_cycle(record, tmp_path):
    known = revealed(record, run(tmp_path))
    with open(next(tmp_path.rglob("acquired.csv")), newline="") as file:
        rows = [tuple(map(int, row.values())) for row in csv.DictReader(file)]
    assert [row[:2] for row in rows] == [(c, o) for c in (0, 1) for o in range(4)]
    for cycle in (0, 1):
        found = {index for c, _, index, _ in rows if c == cycle}
        assert found == known[cycle + 1] - known[cycle]
    assert all(label == TRUTH[index] for _, _, index, label in rows)


@pytest.mark.parametrize("training", ["--add-lp --lp-k 5", "--add-ceal --ceal-th 1"])
@pytest.mark.parametrize("method", ["recorded", "coreset", "jlp", "uncertainty_entropy"])
def test_hidden_labels_reach_nothing(record, tmp_path, monkeypatch, method, training):
    """Other labels of the images that are never asked for: the picks, the weights and the accuracy
    stay; only the share of right pseudo-labels may change."""
    words = ["--add-recorded", "false", *training.split(), "--al-method", method]

    def once(name):
        record.__init__()
        last = run(tmp_path / name, *words)
        return last, [dict(row) for row in last["rows"]["results"]]

    last, results = once("a")
    known = last["state"]["pool"]["order"].numpy()
    hidden = np.setdiff1d(np.arange(TRAIN), known)
    train, test = load("")
    labels = train.labels.copy()
    labels[hidden] = (labels[hidden] + 1) % CLASSES
    other = lambda root: (check_images(train.pixels, labels), test)  # noqa: E731
    # The split balances over all labels, so it is held fast by its file.
    monkeypatch.setitem(DATASETS, "recorded", dataclasses.replace(DATASETS["recorded"], load=other))
    again, changed = once("b")
    np.testing.assert_array_equal(again["state"]["pool"]["order"].numpy(), known)
    assert all(torch.equal(last["model"][n], again["model"][n]) for n in last["model"])
    right = [row.pop("pseudo_accuracy") for row in results]
    assert right != [row.pop("pseudo_accuracy") for row in changed]
    assert results == changed
