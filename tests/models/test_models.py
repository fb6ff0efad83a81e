"""One contract for every network."""

import pytest
import torch

from models import ARCHS, create_model
from models.layers.norm import BatchNorm1d, BatchNorm2d


def example(arch: str, count: int, channels: int, size: int) -> torch.Tensor:
    """Input for the network: images, or feature vectors of length `channels`."""
    return torch.randn(count, channels, *(() if ARCHS[arch].takes_features else (size, size)))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("channels", [1, 3])
def test_contract(arch, channels):
    torch.manual_seed(0)
    size = max(8, ARCHS[arch].min_image_size)
    model = create_model(arch, 7, channels, size)
    images = example(arch, 3, channels, size)
    logits, features = model.eval()(images)
    assert logits.shape == (3, 7) and features.shape == (3, ARCHS[arch].feature_dim or channels)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    loss = torch.nn.functional.cross_entropy(model.train()(images)[0], torch.tensor([0, 1, 2]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    other = create_model(arch, 7, channels, size)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(images)[0], model.eval()(images)[0])
    unscaled = create_model(arch, 7, channels, size, unit_length=False).eval()(images)[1]
    assert (unscaled.norm(dim=1) - 1).abs().min() > 1e-3


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("head_dropout", [0, 0.5])
def test_registry_states_which_networks_have_dropout(arch, head_dropout):
    """With dropout, two passes in training mode (normalised as in evaluation) differ."""
    torch.manual_seed(0)
    model = create_model(arch, 7, head_dropout=head_dropout)
    images = example(arch, 2, 3, 32)
    assert torch.equal(model.eval()(images)[0], model(images)[0])
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    (logits, features), (other_logits, other_features) = model(images), model(images)
    assert torch.equal(logits, other_logits) == (not (ARCHS[arch].has_dropout or head_dropout))
    # Dropout before the head does not affect the returned features.
    assert torch.equal(features, other_features) == (not ARCHS[arch].has_dropout)
    assert create_model(arch, 7).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("arch", ARCHS)
def test_batch_of_one(arch):
    torch.manual_seed(0)
    model = create_model(arch, 7, 3, size := max(8, ARCHS[arch].min_image_size))
    logits, _ = model(example(arch, 1, 3, size))
    logits.sum().backward()
    assert logits.isfinite().all()


@pytest.mark.parametrize("norm, shape", [(BatchNorm1d, (5,)), (BatchNorm2d, (5, 1, 1))])
def test_single_value_per_channel_is_normalised_as_in_evaluation(norm, shape):
    torch.manual_seed(0)
    layer, reference = norm(5), getattr(torch.nn, norm.__name__)(5)
    for batch in torch.randn(3, 4, *shape):
        assert torch.equal(layer(batch), reference(batch))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    batch = torch.randn(1, *shape)
    assert torch.equal(layer(batch), reference.eval()(batch))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("arch", ARCHS)
def test_replace_head(arch):
    model = create_model(arch, 3).eval()
    model.replace_head(11)
    assert model(example(arch, 2, 3, 32))[0].shape == (2, 11)


def test_unknown_network():
    with pytest.raises(ValueError, match="one of cifar_cnn"):
        create_model("vgg", 10)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 12, 28, 31, 32, 64])
def test_sized_cnn_adapts_to_the_image_size(size):
    model = create_model("sized_cnn", 3, 1, size).eval()
    images = torch.randn(2, 1, size, size)
    assert model(images)[1].shape == (2, 64)
    last = next(m for m in reversed(list(model.modules())) if isinstance(m, torch.nn.Conv2d))
    sides = []
    last.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    model(images)
    assert min(size, 4) <= sides[0] < 8
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 1, 2 * size + 6, 2 * size + 6))
