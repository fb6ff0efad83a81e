"""Convolutional networks: the 13-layer network of the paper and two small ones."""

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models.layers.dropout import HalfDropout
from models.layers.norm import BatchNorm1d, BatchNorm2d
from models.layers.winograd import WinogradConv2d


def cifar_cnn(in_channels: int = 3) -> nn.Module:
    """The 13-layer network of Mean Teacher (Tarvainen & Valpola, NIPS 2017): (B, c, H, W) ->
    (B, 128).

    Images need at least 12 x 12 pixels, for two poolings and then an unpadded 3 x 3 convolution."""
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
    """Three conv-BN-LeakyReLU blocks and global pooling, for 8 x 8 images: -> (B, 64)."""
    return nn.Sequential(
        _conv_block(nn.Conv2d(in_channels, 32, 3, padding=1, bias=False)),
        nn.MaxPool2d(2),
        _conv_block(nn.Conv2d(32, 64, 3, padding=1, bias=False)),
        _conv_block(nn.Conv2d(64, 64, 3, padding=1, bias=False)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def sized_cnn(in_channels: int = 1, size: int = 32) -> nn.Module:
    """A network whose depth follows the size of the images: (B, c, size, size) -> (B, 64).

    A block of 32 channels, with stride 2 from 16 pixels per side on; then poolings, each with a
    block of 64 channels, until fewer than 8 pixels per side are left; a last block, and a linear
    layer on all positions, so that the features depend on where a stroke is."""
    (kernel, stride), channels = (3, 1) if size < 16 else (5, 2), 32
    first = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)
    layers = [_conv_block(first)]
    size = -(-size // stride)
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
