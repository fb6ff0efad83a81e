"""Convolutional networks: the 13-layer one of the paper and two small ones."""

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models.layers.dropout import HalfDropout
from models.layers.norm import BatchNorm1d, BatchNorm2d
from models.layers.winograd import WinogradConv2d


def cifar_cnn(in_channels: int = 3) -> nn.Module:
    """The 13-layer network of Mean Teacher (Tarvainen & Valpola, NIPS 2017) -> (B, 128).

    Needs images of at least 12 x 12 pixels: two poolings, then an unpadded 3 x 3 convolution."""
    return nn.Sequential(
        _weight_norm_block(in_channels, 128, 3, padding=1),
        _weight_norm_block(128, 128, 3, padding=1),
        _weight_norm_block(128, 128, 3, padding=1),
        nn.MaxPool2d(2),
        HalfDropout(),
        _weight_norm_block(128, 256, 3, padding=1),
        _weight_norm_block(256, 256, 3, padding=1),
        _weight_norm_block(256, 256, 3, padding=1),
        nn.MaxPool2d(2),
        HalfDropout(),
        _weight_norm_block(256, 512, 3, padding=0),
        _weight_norm_block(512, 256, 1, padding=0),
        _weight_norm_block(256, 128, 1, padding=0),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def small_cnn(in_channels: int = 1) -> nn.Module:
    """Three conv-BN-LeakyReLU blocks and global pooling, for 8 x 8 images -> (B, 64)."""
    return nn.Sequential(
        _conv_block(nn.Conv2d(in_channels, 32, 3, padding=1, bias=False)),
        nn.MaxPool2d(2),
        _conv_block(nn.Conv2d(32, 64, 3, padding=1, bias=False)),
        _conv_block(nn.Conv2d(64, 64, 3, padding=1, bias=False)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def sized_cnn(in_channels: int = 1, size: int = 32) -> nn.Module:
    """As deep as the images ask, then flattened, so that it knows where a stroke is -> (B, 64).

    A block of 32 channels, which from 16 pixels a side on takes every second; then poolings, each
    with a block of 64, until fewer than 8 pixels are left; a last block, and a layer that sees all
    of them."""
    first, channels = (3, 1) if size < 16 else (5, 2), 32  # kernel, stride
    layers = [
        _conv_block(nn.Conv2d(in_channels, channels, *first, padding=first[0] // 2, bias=False))
    ]
    size = -(-size // first[1])
    while size >= 8:
        layers += [nn.MaxPool2d(2), _conv_block(nn.Conv2d(channels, 64, 3, padding=1, bias=False))]
        size, channels = size // 2, 64
    return nn.Sequential(
        *layers,
        _conv_block(nn.Conv2d(channels, 64, 3, padding=1, bias=False)),
        nn.Flatten(),
        nn.Linear(64 * size**2, 64, bias=False),
        BatchNorm1d(64),
    )


def _weight_norm_block(inputs: int, outputs: int, kernel: int, padding: int) -> nn.Module:
    return _conv_block(weight_norm(WinogradConv2d(inputs, outputs, kernel, padding=padding)))


def _conv_block(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(
        convolution, BatchNorm2d(convolution.out_channels), nn.LeakyReLU(0.1, inplace=True)
    )
