"""A network: one convolution and one hidden layer, for images of 8 x 8 pixels."""

from dataclasses import dataclass

from torch import nn

from models import Arch
from utils.options.converters import positive_integer
from utils.options.option import OptionGroup, option


@dataclass(frozen=True)
class WidthOptions(OptionGroup):
    section = "network"
    plugin_width: int = option(4, "Number of channels.", type=positive_integer)


def backbone(in_channels: int, *, width: WidthOptions) -> nn.Module:
    """(B, in_channels, 8, 8) -> (B, 24)."""
    channels = width.plugin_width
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * 16, 24),
    )


ARCH = Arch(backbone, feature_dim=24, min_image_size=8)
