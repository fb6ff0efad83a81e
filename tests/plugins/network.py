"""A network: one convolution, then flatten, for images of 8 x 8."""

from torch import nn

from models import Arch
from utils.options.converters import positive_integer
from utils.options.option import Option


def backbone(in_channels: int, width: int = 4) -> nn.Module:
    """-> (B, 24)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(width * 16, 24),
    )


ROW = Arch(backbone, feature_dim=24, min_image_size=8)
WIDTH = Option("guest_width", 4, "channels", kind=positive_integer, keyword="width")
WITH_OPTION = Arch(backbone, feature_dim=24, min_image_size=8, options=(WIDTH,))
