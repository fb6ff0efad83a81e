"""The code that runs on a GPU, run without one, on tensors that have a device but no memory.

Under torch's FakeTensorMode an operation returns the shape, type and device that its result would
have, also on "cuda", and refuses a tensor that was left on the CPU.  It cannot show values, speed,
autocast or gradients (torch's autograd needs the driver); gradients are tested on "meta" instead.
"""

import inspect
from dataclasses import replace
from functools import partial

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
from experiment.config import SCHEMA
from models import ARCHS, create_model
from models import network as network_module
from models.layers.dropout import HalfDropout
from semisup import ALGORITHMS
from semisup.fixmatch import FixMatchLoss
from tests.plugins import algorithm as plugin
from training.losses import WeightedLoss
from training.network_outputs import OUTPUT_FUNCTIONS, extract_outputs
from utils.graph import affinity, affinity_graph
from utils.graph.graph_options import GraphOptions, affinity_settings
from utils.graph.nearest_neighbors import exact_neighbors
from utils.options.option import kwargs_for, options_of
from utils.options.schema import fill_defaults

IMAGE_ARCHS = [name for name, arch in ARCHS.items() if not arch.takes_features]
LOSSES = {
    **ALGORITHMS,
    "fixmatch adaptive": replace(
        ALGORITHMS["fixmatch"], make_loss=partial(FixMatchLoss, adaptive=True)
    ),
    "plugin": plugin.ALGORITHM,  # its loss has a buffer and two views
}
OPTIONS = fill_defaults(SCHEMA, {"batch_size": 8, "labeled_batch_size": 3}).replace(
    **{one.name: one.default for one in options_of(plugin.ConsistencyOptions)}
)


@pytest.fixture(autouse=True)
def tensor_cores(monkeypatch, request):
    """Whether the GPU has tensor cores: by default not."""
    has_them = getattr(request, "param", False)
    monkeypatch.setattr(network_module, "has_tensor_cores", lambda device: has_them)
    return has_them


@pytest.fixture
def cuda():
    """A GPU; all tensors within the test are fake."""
    with FakeTensorMode(allow_non_fake_inputs=False, shape_env=ShapeEnv()):
        yield torch.device("cuda", 0)


def without_fakes(make):
    """The result of `make`, with real tensors on the CPU."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        return make()


class OnDevice:
    """A module as `.to(device)` leaves it: parameters and buffers are on the device, nothing else.

    A real move does not work with fake tensors; a move to "meta" shows their layout."""

    def __init__(self, make, device):
        self.module = without_fakes(make)
        on_meta = without_fakes(lambda: make().to("meta"))
        tensors = {**dict(on_meta.named_parameters()), **dict(on_meta.named_buffers())}
        self.state = {
            name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device)
            for name, t in tensors.items()
        }

        self.head = HeadOnDevice(self)

    def __call__(self, *inputs):
        return functional_call(self.module, self.state, inputs)

    def train(self, mode=True):
        self.module.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def modules(self):
        return self.module.modules()


class HeadOnDevice(nn.Module):
    """The head of a network that is on a device."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        parameters = self.network.state.items()
        state = {name[5:]: t for name, t in parameters if name.startswith("head.")}
        return functional_call(self.network.module.head, state, inputs)


class RecordOperations(TorchDispatchMode):
    """Records the operations that reach torch's library, with their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.namespace == "aten":
            self.calls.append((operation.overloadpacket, args))
        return operation(*args, **(kwargs or {}))

    def arguments_of(self, packet) -> list:
        return [args for operation, args in self.calls if operation is packet]


class ModuleWithTable(nn.Module):
    """A module that forgets to move its table: `use` works on the CPU, and must fail here."""

    def __init__(self, use):
        super().__init__()
        self.use, self.table = use, torch.ones(3)

    def forward(self, x):
        return self.use(x, self.table)


@pytest.mark.parametrize(
    "use",
    [
        lambda x, table: x * table,
        lambda x, table: x * table.to(x),  # correct, but copies to the GPU in every call
        lambda x, table: x[:, table.long()],
        lambda x, table: x + torch.arange(3),
        lambda x, table: F.conv1d(x[None], torch.ones(3, 3, 1)),
    ],
)
def test_tensors_on_the_cpu_are_refused(cuda, use):
    """Controls of this file's method."""
    x = torch.ones(2, 3, device=cuda)
    with pytest.raises(Exception, match=r"convert all Tensors to Fake|on the same device"):
        OnDevice(lambda: ModuleWithTable(use), cuda)(x)
    without_fakes(lambda: ModuleWithTable(use)(torch.ones(3, 3)))


@pytest.mark.parametrize("tensor_cores", [True, False], indirect=True)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("sobel", [True, False])
@pytest.mark.parametrize("arch", IMAGE_ARCHS)
def test_networks_use_the_librarys_layers(cuda, arch, sobel, train, tensor_cores):
    """Its convolutions in the layout that suits the GPU, and its dropout; nothing that was tuned
    for the CPU."""
    network = OnDevice(lambda: create_model(arch, 7, sobel=sobel).train(train), cuda)
    images = torch.empty(4, 3, 32, 32, device=cuda)
    with RecordOperations() as operations:
        logits, features = network(images)
    assert logits.device == features.device == cuda
    assert logits.shape == (4, 7) and features.shape == (4, ARCHS[arch].feature_dim)
    layers = list(network.module.modules())
    convolutions = operations.arguments_of(torch.ops.aten.convolution)
    assert len(convolutions) == sobel + sum(isinstance(layer, nn.Conv2d) for layer in layers)
    layout = torch.contiguous_format
    if tensor_cores and ARCHS[arch].channels_last:
        layout = torch.channels_last
    assert convolutions[0][0].is_contiguous(memory_format=layout)
    dropouts = sum(isinstance(layer, nn.Dropout | HalfDropout) for layer in layers)
    assert len(operations.arguments_of(torch.ops.aten.native_dropout)) == (dropouts if train else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_the_librarys(cuda, dtype):
    x = torch.empty(4, 128, 9, 7, device=cuda, dtype=dtype).to(memory_format=torch.channels_last)
    layer = OnDevice(HalfDropout, cuda)
    with RecordOperations() as operations:
        out = layer(x)
    assert [operation for operation, _ in operations.calls] == [torch.ops.aten.native_dropout]
    assert operations.calls[0][1][1:] == (0.5, True)
    assert (out.device, out.shape, out.dtype) == (cuda, x.shape, dtype)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("tensor_cores", [True, False], indirect=True)
@pytest.mark.parametrize("arch", IMAGE_ARCHS)
def test_layout_follows_the_device(arch, tensor_cores):
    """To a device and back, with a new head and gradients there.  "meta" needs no fake tensors."""
    model = create_model(arch, 7)

    def is_channels_last(model):
        weights = [p for p in model.parameters() if p.ndim == 4 and min(p.shape[1:3]) > 1]
        return {p.is_contiguous(memory_format=torch.channels_last) for p in weights}

    assert is_channels_last(model) == {ARCHS[arch].channels_last}
    model.to("meta").replace_head(5)
    assert is_channels_last(model) == {tensor_cores and ARCHS[arch].channels_last}
    logits, features = model(torch.empty(4, 3, 32, 32, device="meta"))
    assert logits.shape == (4, 5) and features.is_meta
    F.cross_entropy(logits, torch.zeros(4, dtype=torch.int64, device="meta")).backward()
    assert all(p.grad.is_meta for p in model.parameters())
    assert is_channels_last(model.to_empty(device="cpu")) == {ARCHS[arch].channels_last}


def images_on(device, max_shift=2) -> ImageStore:
    pixels = torch.empty(40, 3, 16, 16, dtype=torch.uint8, device=device)
    return ImageStore(pixels, [0.5] * 3, [0.25] * 3, max_shift, flip=True)


@pytest.mark.parametrize("max_shift", [0, 2])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_of_images(cuda, augmentation, max_shift):
    images = images_on(cuda, max_shift)
    for part in (images, images.subset(np.array([4, 3, 1, 0]))):
        batch = AUGMENTATIONS[augmentation](part, np.array([3, 0, 2]), np.random.default_rng(0))
        assert (batch.device, batch.dtype) == (cuda, torch.float32)
        assert batch.shape == (3, 3, 16, 16)
        assert part.plain_batch(slice(0, 2)).device == part.pixels.device == cuda


def test_outputs_of_all_images(cuda, monkeypatch):
    """With the check for finite values, whose result must be set for tensors without values."""
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True, raising=False)
    network = OnDevice(lambda: create_model("small_cnn", 7), cuda)
    features, probabilities = extract_outputs(network, images_on(cuda), batch_size=16)
    assert features.device == probabilities.device == cuda
    assert features.shape == (40, 64) and probabilities.shape == (40, 7)


@pytest.mark.parametrize("need", OUTPUT_FUNCTIONS)
def test_inputs_of_methods(cuda, need, monkeypatch):
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True, raising=False)
    network = OnDevice(lambda: create_model("small_cnn", 7, head_dropout=0.5), cuda)
    compute = OUTPUT_FUNCTIONS[need]
    outputs = compute(network, images_on(cuda), False, **kwargs_for(OPTIONS, compute))
    assert need in outputs
    assert all(tensor.device == cuda for tensor in outputs.values())
    assert {len(tensor) for tensor in outputs.values() if tensor.ndim} <= {40}


def batches_for(algorithm, device, soft_labels=None) -> BatchLoader:
    labels = np.arange(40) % 7
    pool = Pool(np.where(np.arange(40) < 10, labels, -1), np.arange(10))
    weights = np.linspace(0, 1, 40, dtype=np.float32)
    class_weights = np.linspace(0.5, 1, 7, dtype=np.float32)
    targets = Targets(labels, weights, class_weights, soft_labels)
    rng, options = np.random.default_rng(0), kwargs_for(OPTIONS, algorithm.epoch_batches)
    batches = algorithm.epoch_batches(targets, pool, rng, **options)
    rng = np.random.default_rng(0)
    return BatchLoader(images_on(device), targets, batches, rng, algorithm.augmentations)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(cuda, name):
    """The loss of every algorithm over its own batches and augmentations, with class weights."""
    algorithm = LOSSES[name]
    network = OnDevice(lambda: create_model("small_cnn", 7), cuda)
    options = kwargs_for(OPTIONS, algorithm.make_loss)
    loss = OnDevice(lambda: algorithm.make_loss(7, **options), cuda)
    for views in batches_for(algorithm, cuda):
        assert {part.device for batch in views for part in batch} == {cuda}
        value = loss(network, views)
        assert (value.device, value.shape, value.dtype) == (cuda, (), torch.float32)


def test_loss_with_soft_labels(cuda):
    network = OnDevice(lambda: create_model("small_cnn", 7), cuda)
    soft_labels = np.full((40, 7), 1 / 7, dtype=np.float32)
    for views in batches_for(ALGORITHMS["lp"], cuda, soft_labels):
        assert views[0].targets.is_floating_point()
        with RecordOperations() as operations:
            value = OnDevice(lambda: WeightedLoss(7), cuda)(network, views)
        assert value.device == cuda and operations.arguments_of(torch.ops.aten.xlogy)


def test_neighbours(cuda):
    similarities, indices = exact_neighbors(torch.empty(30, 8, device=cuda), 5)
    assert similarities.device == indices.device == cuda
    assert similarities.shape == indices.shape == (30, 5) and indices.dtype == torch.int64


def test_graph_is_built_on_the_features_device(cuda, monkeypatch):
    """And with every setting but the search, which is exact there."""
    signature = inspect.signature(affinity_graph.affinity_on_device)
    monkeypatch.setattr(affinity_graph, "affinity_on_device", signature.bind)
    graph = GraphOptions(lp_k=7, lp_gamma=2, lp_affinity="gaussian")
    settings = affinity_settings(graph)
    passed = affinity(torch.empty(30, 8, device=cuda), **settings).arguments
    assert settings.pop("search") == "auto"
    assert {name: passed[name] for name in settings} == settings
