"""The layers written for speed against the library's."""

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
def test_winograd_is_the_convolution(monkeypatch, height, width, padding, bias):
    """Outputs and all gradients in float64, some images a chunk and a rest."""
    monkeypatch.setattr(winograd, "TILES_PER_CHUNK", 8)
    torch.manual_seed(0)
    images = torch.randn(5, 3, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    given = [images, weight]
    if bias:
        given.append(torch.randn(4, dtype=torch.float64, requires_grad=True))
    expected = F.conv2d(*given, padding=padding)
    found = winograd._WinogradFunction.apply(*given, *([] if bias else [None]), padding)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, given, slope),
        torch.autograd.grad(expected, given, slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_winograd_rounds_within_ten_times_the_library():
    torch.manual_seed(0)
    images, weight = torch.randn(4, 128, 16, 16), torch.randn(128, 128, 3, 3) / 34
    exact = F.conv2d(images.double(), weight.double(), padding=1)
    ours = (winograd.convolve_3x3(images, weight, padding=1) - exact).square().mean().sqrt()
    library = (F.conv2d(images, weight, padding=1) - exact).square().mean().sqrt()
    assert 0 < ours < 10 * library and ours < 3e-6


def test_winograd_only_where_it_fits(monkeypatch):
    """Elsewhere the layer is nn.Conv2d's, to the bit."""
    taken = []
    convolve = winograd.convolve_3x3
    monkeypatch.setattr(winograd, "convolve_3x3", lambda *a: taken.append(1) or convolve(*a))
    torch.manual_seed(0)
    images = torch.randn(2, 128, 8, 8)
    for options, fits in [
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
        taken.clear()
        found = layer(images)
        assert bool(taken) == fits, options
        if fits:
            torch.testing.assert_close(found, plain(images), atol=2e-5, rtol=0)
        else:
            assert torch.equal(found, plain(images)), options
    taken.clear()
    WinogradConv2d(64, 128, 3)(images[:, :64])
    WinogradConv2d(128, 128, 3)(images[:, :, :5])
    WinogradConv2d(128, 128, 3).double()(images.double())
    assert not taken


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
    # No unit's fate depends on its place among the 64 of a draw, nor on its neighbour's.
    in_memory = kept.permute(0, 2, 3, 1).flatten()
    draws = in_memory[: count // 64 * 64].view(-1, 64).float()
    assert (draws.mean(dim=0) - 0.5).abs().max() < 4.5 * (0.25 / len(draws)) ** 0.5
    again = (in_memory[1:] == in_memory[:-1]).float().mean()
    assert abs(again - 0.5) < 4 * (0.25 / count) ** 0.5
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


def test_cifar_cnn_learns_the_same_either_way(monkeypatch):
    """Features and gradients of the network against float64, beside the library's convolutions."""
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
    for mine, theirs, true in zip(ours, library, exact, strict=True):
        assert 0 < (mine - true).norm() < 1e-4 * true.norm()
        assert (mine - true).norm() < 20 * (theirs - true).norm()
