"""The layers that are optimised for the CPU against those of the library."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import create_model
from models.layers import winograd
from models.layers.dropout import HalfDropout
from models.layers.winograd import WinogradConv2d


@pytest.mark.parametrize("height, width", [(6, 6), (8, 12), (7, 9), (10, 6)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_winograd_equals_the_convolution(monkeypatch, height, width, padding, bias):
    """Outputs and all gradients in float64, with several images per chunk and a remainder."""
    monkeypatch.setattr(winograd, "TILES_PER_CHUNK", 8)
    torch.manual_seed(0)
    images = torch.randn(5, 3, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    inputs = [images, weight]
    if bias:
        inputs.append(torch.randn(4, dtype=torch.float64, requires_grad=True))
    expected = F.conv2d(*inputs, padding=padding)
    actual = winograd._WinogradFunction.apply(*inputs, *([] if bias else [None]), padding)
    torch.testing.assert_close(actual, expected)
    slope = torch.randn_like(expected)
    gradients = torch.autograd.grad(actual, inputs, slope)
    expected_gradients = torch.autograd.grad(expected, inputs, slope)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_winograd_rounds_within_ten_times_the_library():
    torch.manual_seed(0)
    images, weight = torch.randn(4, 128, 16, 16), torch.randn(128, 128, 3, 3) / 34
    exact = F.conv2d(images.double(), weight.double(), padding=1)
    ours = (winograd.convolve_3x3(images, weight, padding=1) - exact).square().mean().sqrt()
    library = (F.conv2d(images, weight, padding=1) - exact).square().mean().sqrt()
    assert 0 < ours < 10 * library and ours < 3e-6


def test_winograd_is_used_only_where_it_applies(monkeypatch):
    """Elsewhere the results are bit-identical to those of nn.Conv2d."""
    calls = []
    convolve = winograd.convolve_3x3
    monkeypatch.setattr(winograd, "convolve_3x3", lambda *a: calls.append(1) or convolve(*a))
    torch.manual_seed(0)
    images = torch.randn(2, 128, 8, 8)
    for options, applies in [
        ({"kernel_size": 3, "padding": 1}, True),
        ({"kernel_size": 3}, True),
        ({"kernel_size": 3, "padding": 2}, False),
        ({"kernel_size": 3, "padding": "same"}, False),
        ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, False),
        ({"kernel_size": 3, "padding": 1, "stride": 2}, False),
        ({"kernel_size": 3, "dilation": 2}, False),
        ({"kernel_size": 3, "groups": 2}, False),
        ({"kernel_size": 1}, False),
    ]:
        layer, plain = WinogradConv2d(128, 128, **options), nn.Conv2d(128, 128, **options)
        plain.load_state_dict(layer.state_dict())
        calls.clear()
        outputs = layer(images)
        assert bool(calls) == applies, options
        if applies:
            torch.testing.assert_close(outputs, plain(images), atol=2e-5, rtol=0)
        else:
            assert torch.equal(outputs, plain(images)), options
    calls.clear()
    WinogradConv2d(64, 128, 3)(images[:, :64])
    WinogradConv2d(128, 128, 3)(images[:, :, :5])
    WinogradConv2d(128, 128, 3).double()(images.double())
    assert not calls


def test_half_dropout_is_dropout():
    torch.manual_seed(0)
    layer, x = HalfDropout(), torch.rand(64, 3, 20, 20) + 1
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(5)
    out = layer(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    kept = out != 0
    assert torch.equal(out, 2 * x * kept)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], 2.0 * kept)
    count = x.numel()
    assert abs(kept.sum() - count / 2) < 4 * (count / 4) ** 0.5
    # Whether a unit is kept depends neither on its place among the 64 of a draw nor on neighbours.
    in_memory = kept.permute(0, 2, 3, 1).flatten()
    draws = in_memory[: count // 64 * 64].view(-1, 64).float()
    assert (draws.mean(dim=0) - 0.5).abs().max() < 4.5 * (0.25 / len(draws)) ** 0.5
    equal_neighbours = (in_memory[1:] == in_memory[:-1]).float().mean()
    assert abs(equal_neighbours - 0.5) < 4 * (0.25 / count) ** 0.5
    torch.manual_seed(5)
    assert torch.equal(layer(x), out) and not torch.equal(layer(x), out)
    assert layer.eval()(x) is x
    layer.train()
    gapped, expanded = torch.ones(500, 700)[::3, ::2], torch.ones(900, 1).expand(900, 99)
    for units in (torch.ones(100_003), gapped, expanded, gapped.bfloat16()):
        out = layer(units)
        assert out.shape == units.shape and out.dtype == units.dtype
        assert set(out.unique().tolist()) == {0, 2}
        assert abs((out != 0).sum() - out.numel() / 2) < 4 * (out.numel() / 4) ** 0.5
    layers = list(create_model("cifar_cnn", 10).modules())
    assert sum(isinstance(layer, HalfDropout) for layer in layers) == 2


def test_cifar_cnn_is_as_accurate_with_winograd(monkeypatch):
    """Errors of features and gradients against float64, compared with those of the library."""
    torch.manual_seed(0)
    model = create_model("cifar_cnn", 10).eval()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])

    def run(dtype=torch.float32):
        model.to(dtype).zero_grad()
        logits, features = model(images.to(dtype))
        F.cross_entropy(logits, labels).backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        return features.detach().double(), gradients.double()

    ours = run()
    monkeypatch.setattr(WinogradConv2d, "_is_faster", lambda self, images: False)
    library, exact = run(), run(torch.float64)
    assert not torch.equal(ours[0], library[0])
    for fast, plain, true in zip(ours, library, exact, strict=True):
        assert 0 < (fast - true).norm() < 1e-4 * true.norm()
        assert (fast - true).norm() < 20 * (plain - true).norm()
