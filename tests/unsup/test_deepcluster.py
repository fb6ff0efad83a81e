"""DeepCluster: clusters without a hole, labels never read, a cache that gives back what it got."""

import dataclasses
import inspect
import multiprocessing
import shutil
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from data import DATASETS
from data.augment import ImageStore, channel_statistics
from experiment import pretrained_cache
from experiment.identity import make_identity
from experiment.pretrained_cache import load_or_pretrain_backbone
from models import ARCHS, create_model
from training.network_outputs import extract_outputs
from unsup import PRETRAINERS, deepcluster
from unsup.deepcluster import pretrain, sample_cluster_batches
from utils.errors import UserError
from utils.kmeans import assign_clusters

SETTINGS = {"clusters": 20, "epochs": 4, "lr": 0.05, "batch_size": 64, "seed": 1, "num_classes": 10}
ROW = PRETRAINERS["deepcluster"]


def who(data="0123", **options):
    """The identity of weights."""
    return make_identity({"dataset": "digits", "arch": "small_cnn", **SETTINGS, **options}, data)


def digits(count=300):
    train, _ = DATASETS["digits"].load("")
    images = ImageStore(train.pixels[:count], *channel_statistics(train.pixels), 1)
    return images, train.labels[:count]


def network(arch="small_cnn", size=8, **more):
    torch.manual_seed(0)
    return create_model(arch, 10, 1, size, **more)


def test_sampling_is_uniform_over_the_clusters():
    assigned = np.array([0] * 900 + [1] * 90 + [2] * 10)
    streams = sample_cluster_batches(assigned, 64, np.random.default_rng(0))
    assert max(map(len, streams)) <= 64
    counts = np.bincount(assigned[np.concatenate(streams)])
    assert counts.sum() == 1000 and np.abs(counts - 1000 / 3).max() < 60  # four standard errors


def test_the_clusters_come_to_agree_with_the_hidden_classes(monkeypatch):
    """The classes are hidden: pretrain has no parameter for them; here they only judge."""
    images, hidden = digits(1437)
    assert "labels" not in inspect.signature(pretrain).parameters
    found = []
    monkeypatch.setattr(
        deepcluster, "assign_clusters", lambda *a: found.append(assign_clusters(*a)) or found[-1]
    )
    options = SETTINGS | {"clusters": 50, "epochs": 20, "lr": 1.0, "batch_size": 32}
    rows = pretrain(network(), images, **options)
    nmi = [normalized_mutual_info_score(hidden, assigned) for assigned in found]
    assert np.mean(nmi[-5:]) > np.mean(nmi[:2]) + 0.05, nmi
    assert all(np.bincount(assigned, minlength=50).min() >= 1 for assigned in found)
    assert [row["epoch"] for row in rows] == list(range(20)) and rows[0]["nmi"] is None
    expected = normalized_mutual_info_score(found[3], found[4])
    assert rows[4]["nmi"] == pytest.approx(expected) and rows[-1]["nmi"] > rows[1]["nmi"]


@pytest.mark.parametrize("arch", [name for name, row in ARCHS.items() if not row.takes_features])
@pytest.mark.parametrize("sobel", [False, True])
def test_every_network(arch, sobel):
    pixels = digits(40)[0].pixels.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    images = ImageStore(pixels, [0.5], [0.5], 1)
    model = network(arch, 16, sobel=sobel)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    options = SETTINGS | {"clusters": 8, "epochs": 2, "batch_size": 20}
    rows = pretrain(model, images, **options)
    assert len(rows) == 2 and all(np.isfinite(row["loss"]) for row in rows)
    assert any(not torch.equal(before[n], v) for n, v in model.backbone.state_dict().items())


def test_sobel_is_the_gradient():
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    gradients = network(sobel=True).backbone[0](ramp)
    assert gradients.shape == (1, 2, 6, 6)
    assert (gradients[0, 0, 1:-1, 1:-1].abs() == 8).all()
    assert (gradients[0, 1, 1:-1, 1:-1] == 0).all()


def test_resuming_is_the_same_training():
    images, _ = digits()
    whole, states = network(), []
    rows = pretrain(whole, images, after_epoch=lambda p, s: states.append(copy_of(s)), **SETTINGS)
    again = network()
    assert pretrain(again, images, resume=states[1], **SETTINGS) == rows
    for name, value in whole.backbone.state_dict().items():
        assert torch.equal(value, again.backbone.state_dict()[name]), name


def copy_of(state):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def features_of(backbone, images):
    model = network()
    model.backbone.load_state_dict(backbone)
    return extract_outputs(model, images)[0]


def cached(root, images, row=ROW, **options):
    """The backbone of the cache at `root`, with some settings changed."""
    more = {name: options.pop(name) for name in ("anew", "checkpoint_epochs") if name in options}
    settings = SETTINGS | options
    model = network()
    return load_or_pretrain_backbone(root, model, images, row, who(**options), **more, **settings)


def counted(calls, **more):
    """The row with every call noted."""

    def call(*words, **options):
        calls.append(options)
        return pretrain(*words, **options)

    return dataclasses.replace(ROW, pretrain=call, **more)


def test_the_cache(tmp_path):
    images, _ = digits()
    calls = []
    row = counted(calls)
    features = features_of(cached(tmp_path, images), images)
    again = cached(tmp_path, images, row)
    assert not calls and torch.equal(features_of(again, images), features)
    different = cached(tmp_path, images, row, lr=0.01)
    assert len(calls) == 1 and not torch.equal(features_of(different, images), features)
    anew = cached(tmp_path, images, row, anew=True)
    assert len(calls) == 2 and torch.equal(features_of(anew, images), features)
    names = sorted(path.name for path in pretrained_cache.cache_folder(tmp_path, who()).iterdir())
    assert names == [".lease", "config.json", "pretraining.csv", "weights.pt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        cached(tmp_path / "file", images)


def test_the_cache_holds_what_its_identity_says(tmp_path):
    """Weights learned on other pixels, or copied from another folder, are not handed out."""
    images, _ = digits()
    cached(tmp_path, images)
    folder = pretrained_cache.cache_folder(tmp_path, who())
    assert pretrained_cache.cache_folder(tmp_path, who(data="4567")) != folder
    other = pretrained_cache.cache_folder(tmp_path, who(lr=0.01))
    shutil.copytree(folder, other)
    with pytest.raises(UserError, match=r"weights\.pt was made with lr = 0\.05, not 0\.01"):
        cached(tmp_path, images, lr=0.01)
    (other / "weights.pt").rename(other / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt was made with lr = 0\.05, not 0\.01"):
        cached(tmp_path, images, lr=0.01)


def learn(root, queue):
    images, _ = digits()
    calls = []

    def slow(*words, **options):
        time.sleep(0.5)
        return counted(calls).pretrain(*words, **options)

    backbone = cached(root, images, dataclasses.replace(ROW, pretrain=slow))
    queue.put((len(calls), float(sum(v.double().sum() for v in backbone.values()))))


def test_two_at_once_learn_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=learn, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in answers) == [0, 1]
    assert answers[0][1] == answers[1][1]


def test_a_killed_learning_goes_on(tmp_path):
    images, _ = digits()

    class Killed(Exception):
        pass

    def killed(*words, after_epoch, **options):
        def after(done, state):
            after_epoch(done, state)
            if done == 3:
                raise Killed

        return pretrain(*words, after_epoch=after, **options)

    with pytest.raises(Killed):
        row = dataclasses.replace(ROW, pretrain=killed)
        cached(tmp_path, images, row, checkpoint_epochs=2)
    calls = []
    backbone = cached(tmp_path, images, counted(calls))
    assert len(calls[0]["resume"]["rows"]) == 2
    whole = network()
    pretrain(whole, images, **SETTINGS)
    assert all(torch.equal(backbone[n], v) for n, v in whole.backbone.state_dict().items())
