"""A GPU that is not here: what runs on one, run with tensors that have a device but no memory.

Under torch's FakeTensorMode an operation gives the shape, type and device that it would have, on
"cuda" too, and refuses a tensor that was left on the CPU.  What it cannot show: values, speed,
autocast and gradients (torch's autograd asks the driver), which are taken on "meta" instead.
"""

import inspect
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode

from data.augment import AUGMENTATIONS, ImageStore
from data.batches import BatchLoader
from data.pool import Pool, Targets
from models import ARCHS, create_model
from models.layers.dropout import HalfDropout
from semisup import ALGORITHMS
from semisup.fixmatch import FixMatchLoss
from tests.plugins import algorithm as guest
from training.losses import WeightedLoss
from training.network_outputs import OUTPUT_FUNCTIONS, extract_outputs
from utils.graph import affinity, affinity_graph
from utils.graph.nearest_neighbors import exact_neighbors
from utils.torch_faiss import faiss, gpu_resources

OF_IMAGES = [arch for arch, row in ARCHS.items() if not row.takes_features]
LOSSES = {
    **ALGORITHMS,
    "fixmatch adaptive": replace(
        ALGORITHMS["fixmatch"], make_loss=partial(FixMatchLoss, adaptive=True)
    ),
    "guest": guest.ROW,  # it has a buffer and two views
}


@pytest.fixture
def cuda():
    """Within the test all tensors are fake, and this is the GPU."""
    with FakeTensorMode(allow_non_fake_inputs=False, shape_env=ShapeEnv()):
        yield torch.device("cuda", 0)


def real(make):
    """Made as it is without a GPU, with what a test must not find on the CPU."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        return make()


class Moved:
    """A module as `.to(device)` leaves it: its parameters and buffers there, and nothing else.

    A real move does not work with fake tensors; one to "meta" gives their layout."""

    def __init__(self, make, device):
        self.module = real(make)
        there = real(lambda: make().to("meta"))
        tensors = {**dict(there.named_parameters()), **dict(there.named_buffers())}
        self.state = {
            name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device)
            for name, t in tensors.items()
        }

    def __call__(self, *given):
        return functional_call(self.module, self.state, given)

    def head(self, *given):
        own = {name[5:]: t for name, t in self.state.items() if name.startswith("head.")}
        return functional_call(self.module.head, own, given)

    def train(self, mode=True):
        self.module.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def modules(self):
        return self.module.modules()


class Operations(TorchDispatchMode):
    """Notes the operations that reach the library, with their arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, given=(), options=None):
        if operation.namespace == "aten":
            self.seen.append((operation.overloadpacket, given))
        return operation(*given, **(options or {}))

    def of(self, packet) -> list:
        return [given for operation, given in self.seen if operation is packet]


class Forgetful(nn.Module):
    """Controls: what each does works on the CPU, and must not pass here."""

    def __init__(self, way):
        super().__init__()
        self.way, self.table = way, torch.ones(3)

    def forward(self, x):
        return self.way(x, self.table)


@pytest.mark.parametrize(
    "way",
    [
        lambda x, table: x * table,
        lambda x, table: x * table.to(x),  # right, but a copy to the GPU at every call
        lambda x, table: x[:, table.long()],
        lambda x, table: x + torch.arange(3),
        lambda x, table: F.conv1d(x[None], torch.ones(3, 3, 1)),
    ],
)
def test_what_is_left_on_the_cpu_is_refused(cuda, way):
    x = torch.ones(2, 3, device=cuda)
    with pytest.raises(Exception, match=r"convert all Tensors to Fake|on the same device"):
        Moved(lambda: Forgetful(way), cuda)(x)
    real(lambda: Forgetful(way)(torch.ones(3, 3)))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("sobel", [True, False])
@pytest.mark.parametrize("arch", OF_IMAGES)
def test_networks_use_the_library(cuda, arch, sobel, train):
    """Its convolutions in its layout, and its dropout: nothing that was tuned for the CPU."""
    network = Moved(lambda: create_model(arch, 7, sobel=sobel).train(train), cuda)
    images = torch.empty(4, 3, 32, 32, device=cuda)
    with Operations() as operations:
        logits, features = network(images)
    assert logits.device == features.device == cuda
    assert logits.shape == (4, 7) and features.shape == (4, ARCHS[arch].feature_dim)
    layers = list(network.module.modules())
    convolutions = operations.of(torch.ops.aten.convolution)
    assert len(convolutions) == sobel + sum(isinstance(layer, nn.Conv2d) for layer in layers)
    assert all(x.is_contiguous() and w.is_contiguous() for x, w, *_ in convolutions)
    dropouts = sum(isinstance(layer, nn.Dropout | HalfDropout) for layer in layers)
    assert len(operations.of(torch.ops.aten.native_dropout)) == (dropouts if train else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout(cuda, dtype):
    x = torch.empty(4, 128, 9, 7, device=cuda, dtype=dtype).to(memory_format=torch.channels_last)
    layer = Moved(HalfDropout, cuda)
    with Operations() as operations:
        out = layer(x)
    assert [operation for operation, _ in operations.seen] == [torch.ops.aten.native_dropout]
    assert operations.seen[0][1][1:] == (0.5, True)
    assert (out.device, out.shape, out.dtype) == (cuda, x.shape, dtype)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("arch", OF_IMAGES)
def test_the_layout_follows_the_device(arch):
    """To a device and back; gradients there, of a head renewed there.  No fake: "meta" is real."""
    model = create_model(arch, 7)

    def last(model):
        weights = [p for p in model.parameters() if p.ndim == 4 and min(p.shape[1:3]) > 1]
        return {p.is_contiguous(memory_format=torch.channels_last) for p in weights}

    assert last(model) == {ARCHS[arch].channels_last}
    model.to("meta").replace_head(5)
    assert last(model) == {False}
    logits, features = model(torch.empty(4, 3, 32, 32, device="meta"))
    assert logits.shape == (4, 5) and features.is_meta
    F.cross_entropy(logits, torch.zeros(4, dtype=torch.int64, device="meta")).backward()
    assert all(p.grad.is_meta for p in model.parameters())
    assert last(model.to_empty(device="cpu")) == {ARCHS[arch].channels_last}


def images_on(device, max_shift=2) -> ImageStore:
    pixels = torch.empty(40, 3, 16, 16, dtype=torch.uint8, device=device)
    return ImageStore(pixels, [0.5] * 3, [0.25] * 3, max_shift, flip=True)


@pytest.mark.parametrize("max_shift", [0, 2])
@pytest.mark.parametrize("view", AUGMENTATIONS)
def test_batches_of_images(cuda, view, max_shift):
    images = images_on(cuda, max_shift)
    for part in (images, images.subset(np.array([4, 3, 1, 0]))):
        batch = AUGMENTATIONS[view](part, np.array([3, 0, 2]), np.random.default_rng(0))
        assert (batch.device, batch.dtype) == (cuda, torch.float32)
        assert batch.shape == (3, 3, 16, 16)
        assert part.plain_batch(slice(0, 2)).device == part.pixels.device == cuda


def test_what_a_network_says_of_all_images(cuda, monkeypatch):
    """With the check of it, whose answer a tensor without values has to be given: all is finite."""
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True, raising=False)
    network = Moved(lambda: create_model("small_cnn", 7), cuda)
    features, probabilities = extract_outputs(network, images_on(cuda), batch_size=16)
    assert features.device == probabilities.device == cuda
    assert features.shape == (40, 64) and probabilities.shape == (40, 7)


@pytest.mark.parametrize("need", OUTPUT_FUNCTIONS)
def test_what_methods_need(cuda, need, monkeypatch):
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True, raising=False)
    network = Moved(lambda: create_model("small_cnn", 7, head_dropout=0.5), cuda)
    found = OUTPUT_FUNCTIONS[need](network, images_on(cuda), False)
    assert need in found
    assert all(found[name].device == cuda for name in found)
    assert {len(rows) for rows in found.values() if rows.ndim} <= {40}


def batches_for(row, device, scores=None) -> BatchLoader:
    labels = np.arange(40) % 7
    pool = Pool(np.where(np.arange(40) < 10, labels, -1), np.arange(10))
    weights = np.linspace(0, 1, 40, dtype=np.float32)
    targets = Targets(labels, weights, np.linspace(0.5, 1, 7, dtype=np.float32), scores)
    options = {"batch_size": 8, "labeled_batch_size": 3}
    options = {
        k: v for k, v in options.items() if k in inspect.signature(row.epoch_batches).parameters
    }
    streams = row.epoch_batches(targets, pool, np.random.default_rng(0), **options)
    return BatchLoader(
        images_on(device), targets, streams, np.random.default_rng(0), row.augmentations
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses(cuda, name):
    """Every algorithm's, over its own batches and views, with class weights."""
    row = LOSSES[name]
    network = Moved(lambda: create_model("small_cnn", 7), cuda)
    loss = Moved(lambda: row.make_loss(7), cuda)
    for views in batches_for(row, cuda):
        assert {part.device for batch in views for part in batch} == {cuda}
        value = loss(network, views)
        assert (value.device, value.shape, value.dtype) == (cuda, (), torch.float32)


def test_loss_of_distributions(cuda):
    network = Moved(lambda: create_model("small_cnn", 7), cuda)
    scores = np.full((40, 7), 1 / 7, dtype=np.float32)
    for views in batches_for(ALGORITHMS["lp"], cuda, scores):
        assert views[0].targets.is_floating_point()
        with Operations() as operations:
            value = Moved(lambda: WeightedLoss(7), cuda)(network, views)
        assert value.device == cuda and operations.of(torch.ops.aten.xlogy)


def test_neighbours_where_faiss_has_no_gpu(cuda, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    similarities, indices = exact_neighbors(torch.empty(30, 8, device=cuda), 5)
    assert similarities.device == indices.device == cuda
    assert similarities.shape == indices.shape == (30, 5) and indices.dtype == torch.int64


def test_the_graph_of_features_there_is_made_there(cuda, monkeypatch):
    monkeypatch.setattr(affinity_graph, "affinity_on_device", lambda *words: words)
    features = torch.empty(30, 8, device=cuda)
    assert affinity(features, 7, 2, "auto") == ((features,), 7, 2, "cosine", None)


@pytest.fixture
def faiss_on_gpus(monkeypatch):
    """The calls that reach faiss.  Stand-ins, since no GPU is here: only the resources are faiss's
    own, which it makes without one.  -> resources made, (resources, device, current device)"""
    made, searches, current = [], [], [0]
    make = faiss.StandardGpuResources

    @contextmanager
    def within(device):
        current.append(device)
        yield
        current.pop()

    def search(resources, queries, rows, k, metric, device):
        assert queries is rows and k == 5 and metric == faiss.METRIC_INNER_PRODUCT
        searches.append((resources, device, current[-1]))

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: made.append(make()) or made[-1])
    monkeypatch.setattr(faiss, "knn_gpu", search)
    monkeypatch.setattr(torch.cuda, "device", within)
    # It would change faiss for all tests that follow.
    name = "faiss.contrib.torch_utils"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    gpu_resources.cache_clear()
    yield made, searches
    gpu_resources.cache_clear()


def test_faiss_resources_are_made_once_a_gpu(faiss_on_gpus):
    made, searches = faiss_on_gpus
    for name in ("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda"):
        exact_neighbors(SimpleNamespace(is_cuda=True, device=torch.device(name)), 5)
    assert len(made) == 2
    assert [made.index(resources) for resources, _, _ in searches] == [0, 1, 0, 1, 0]
    assert [device for _, device, _ in searches] == [0, 1, 0, 1, 0]


def test_faiss_searches_in_the_stream_of_the_features(faiss_on_gpus):
    """It orders itself after torch's work on torch's current device, whichever it searches on."""
    _, searches = faiss_on_gpus
    exact_neighbors(SimpleNamespace(is_cuda=True, device=torch.device("cuda", 1)), 5)
    assert [current for _, _, current in searches] == [1]
