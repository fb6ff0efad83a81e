"""DeepCluster: no empty clusters, no labels; and the cache of pre-trained weights."""

import dataclasses
import inspect
import io
import shutil

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
from tests.forked import fork_server
from training.network_outputs import extract_outputs
from unsup import PRETRAINERS, deepcluster
from unsup.deepcluster import DeepClusterOptions, pretrain, sample_cluster_batches
from unsup.shared_options import PretrainingLoopOptions
from utils.errors import UserError
from utils.kmeans import assign_clusters

PRETRAINER = PRETRAINERS["deepcluster"]
SETTINGS = {"clusters": 20, "epochs": 4, "lr": 0.05, "batch_size": 64}


def arguments(seed=1, num_classes=10, **settings):
    """The keyword arguments of `pretrain`, from SETTINGS with changes."""
    values = SETTINGS | settings
    loop = PretrainingLoopOptions(
        pretraining_epochs=values["epochs"],
        pretraining_lr=values["lr"],
        pretraining_batch_size=values["batch_size"],
    )
    group = DeepClusterOptions(pretraining_clusters=values["clusters"])
    return {"loop": loop, "deepcluster": group, "seed": seed, "num_classes": num_classes}


def identity_of(data="0123", **settings):
    """The identity of weights, with some settings changed."""
    options = {"dataset": "digits", "arch": "small_cnn", **SETTINGS, **settings}
    return make_identity(options, data)


def digits(count=300):
    train, _ = DATASETS["digits"].load("")
    images = ImageStore(train.pixels[:count], *channel_statistics(train.pixels), 1)
    return images, train.labels[:count]


def network(arch="small_cnn", size=8, **settings):
    torch.manual_seed(0)
    return create_model(arch, 10, 1, size, **settings)


def test_sampling_is_uniform_over_the_clusters():
    assigned = np.array([0] * 900 + [1] * 90 + [2] * 10)
    batches = sample_cluster_batches(assigned, 64, np.random.default_rng(0))
    assert max(map(len, batches)) <= 64
    counts = np.bincount(assigned[np.concatenate(batches)])
    assert counts.sum() == 1000 and np.abs(counts - 1000 / 3).max() < 60  # 4 standard errors


def test_clusters_approach_the_hidden_classes(monkeypatch):
    """`pretrain` has no parameter for labels; the classes only evaluate the result."""
    images, hidden = digits(1437)
    assert "labels" not in inspect.signature(pretrain).parameters
    clusterings = []

    def record_clusters(*args):
        clusterings.append(assign_clusters(*args))
        return clusterings[-1]

    monkeypatch.setattr(deepcluster, "assign_clusters", record_clusters)
    rows = pretrain(network(), images, **arguments(clusters=50, epochs=12, lr=1.0, batch_size=32))
    nmi = [normalized_mutual_info_score(hidden, assigned) for assigned in clusterings]
    assert np.mean(nmi[-5:]) > np.mean(nmi[:2]) + 0.05, nmi
    assert all(np.bincount(assigned, minlength=50).min() >= 1 for assigned in clusterings)
    assert [row["epoch"] for row in rows] == list(range(12)) and rows[0]["nmi"] is None
    expected = normalized_mutual_info_score(clusterings[3], clusterings[4])
    assert rows[4]["nmi"] == pytest.approx(expected) and rows[-1]["nmi"] > rows[1]["nmi"]


@pytest.mark.parametrize("arch", [name for name, arch in ARCHS.items() if not arch.takes_features])
@pytest.mark.parametrize("sobel", [False, True])
def test_every_network_can_be_pretrained(arch, sobel):
    pixels = digits(40)[0].pixels.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    images = ImageStore(pixels, [0.5], [0.5], 1)
    model = network(arch, 16, sobel=sobel)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    rows = pretrain(model, images, **arguments(clusters=8, epochs=2, batch_size=20))
    assert len(rows) == 2 and all(np.isfinite(row["loss"]) for row in rows)
    assert any(not torch.equal(before[n], v) for n, v in model.backbone.state_dict().items())


def test_sobel_computes_the_gradient():
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    gradients = network(sobel=True).backbone[0](ramp)
    assert gradients.shape == (1, 2, 6, 6)
    assert (gradients[0, 0, 1:-1, 1:-1].abs() == 8).all()
    assert (gradients[0, 1, 1:-1, 1:-1] == 0).all()


def test_resumed_pretraining_is_the_same():
    images, _ = digits()
    uninterrupted, states = network(), []

    def keep_state(epochs_done, state):
        states.append(save_and_load(state))

    rows = pretrain(uninterrupted, images, after_epoch=keep_state, **arguments())
    resumed = network()
    assert pretrain(resumed, images, resume=states[1], **arguments()) == rows
    for name, value in uninterrupted.backbone.state_dict().items():
        assert torch.equal(value, resumed.backbone.state_dict()[name]), name


def save_and_load(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def features_of(backbone, images):
    model = network()
    model.backbone.load_state_dict(backbone)
    return extract_outputs(model, images)[0]


def load_or_pretrain(root, images, pretrainer=PRETRAINER, cache_options=None, **settings):
    """The backbone in the cache at `root`, pre-trained on digits with some settings changed."""
    identity, groups = identity_of(**settings), arguments(**settings)
    return load_or_pretrain_backbone(
        root, network(), images, pretrainer, identity, **(cache_options or {}), **groups
    )


def counting_pretrainer(calls):
    """The entry, with the keyword arguments of every call appended to `calls`."""

    def record_and_pretrain(*args, **kwargs):
        calls.append(kwargs)
        return pretrain(*args, **kwargs)

    return dataclasses.replace(PRETRAINER, pretrain=record_and_pretrain)


def test_weights_are_cached_by_identity(tmp_path):
    images, _ = digits()
    calls = []
    pretrainer = counting_pretrainer(calls)
    features = features_of(load_or_pretrain(tmp_path, images), images)
    cached = load_or_pretrain(tmp_path, images, pretrainer)
    assert not calls and torch.equal(features_of(cached, images), features)
    different = load_or_pretrain(tmp_path, images, pretrainer, lr=0.01)
    assert len(calls) == 1 and not torch.equal(features_of(different, images), features)
    relearned = load_or_pretrain(tmp_path, images, pretrainer, {"relearn": True})
    assert len(calls) == 2 and torch.equal(features_of(relearned, images), features)
    folder = pretrained_cache.cache_folder(tmp_path, identity_of())
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".lease", "config.json", "pretraining.csv", "weights.pt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.* cannot be written"):
        load_or_pretrain(tmp_path / "file", images)


def test_weights_of_another_identity_are_refused(tmp_path):
    """Weights for other pixels have another folder; weights copied from there are refused."""
    images, _ = digits()
    load_or_pretrain(tmp_path, images)
    folder = pretrained_cache.cache_folder(tmp_path, identity_of())
    assert pretrained_cache.cache_folder(tmp_path, identity_of(data="4567")) != folder
    other = pretrained_cache.cache_folder(tmp_path, identity_of(lr=0.01))
    shutil.copytree(folder, other)
    with pytest.raises(UserError, match=r"weights\.pt .*lr = 0\.05, not 0\.01"):
        load_or_pretrain(tmp_path, images, lr=0.01)
    (other / "weights.pt").rename(other / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt .*lr = 0\.05, not 0\.01"):
        load_or_pretrain(tmp_path, images, lr=0.01)


def pretrain_in_process(root, barrier, queue):
    images, _ = digits()
    calls = []
    barrier.wait(timeout=300)
    backbone = load_or_pretrain(root, images, counting_pretrainer(calls))
    queue.put((len(calls), float(sum(v.double().sum() for v in backbone.values()))))


def test_two_processes_pretrain_once(tmp_path):
    server = fork_server()
    queue, barrier = server.Queue(), server.Barrier(2)
    processes = [
        server.Process(target=pretrain_in_process, args=(tmp_path, barrier, queue))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in answers) == [0, 1]
    assert answers[0][1] == answers[1][1]


def test_killed_pretraining_resumes(tmp_path):
    images, _ = digits()

    class Killed(Exception):
        pass

    def pretrain_until_killed(*args, after_epoch, **kwargs):
        def kill_after_epoch(epochs_done, state):
            after_epoch(epochs_done, state)
            if epochs_done == 3:
                raise Killed

        return pretrain(*args, after_epoch=kill_after_epoch, **kwargs)

    pretrainer = dataclasses.replace(PRETRAINER, pretrain=pretrain_until_killed)
    with pytest.raises(Killed):
        load_or_pretrain(tmp_path, images, pretrainer, {"checkpoint_epochs": 2})
    calls = []
    backbone = load_or_pretrain(tmp_path, images, counting_pretrainer(calls))
    assert len(calls[0]["resume"]["rows"]) == 2
    uninterrupted = network()
    pretrain(uninterrupted, images, **arguments())
    expected = uninterrupted.backbone.state_dict()
    assert all(torch.equal(backbone[name], value) for name, value in expected.items())
