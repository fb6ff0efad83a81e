"""Networks, all `model(x) -> (logits, features)`.  One row each in ARCHS."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from models.cnn import cifar_cnn, small_cnn
from models.heads import Network, Sobel, linear, weight_normalised_linear
from models.resnet import resnet18


class Arch(NamedTuple):
    """A row of the registry."""

    backbone: Callable  # in_channels -> module that maps images to (B, features)
    features: int
    head: Callable = linear
    min_size: int = 1  # pixels a side that the backbone needs
    channels_last: bool = False  # the faster layout of the two, as measured


ARCHS = {
    "cifar_cnn": Arch(
        cifar_cnn, features=128, head=weight_normalised_linear, min_size=12, channels_last=True
    ),
    "resnet18": Arch(resnet18, features=512, channels_last=True),
    "small_cnn": Arch(small_cnn, features=64, min_size=2),
}


def create_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    unit_length: bool = True,
    sobel: bool = False,
) -> Network:
    """A network with random weights from torch's default generator.

    `unit_length` makes the features unit length before the head; `sobel` feeds the backbone image
    gradients instead of pixels.  Raises ValueError for an unknown network."""
    if arch not in ARCHS:
        raise ValueError(f"unknown network {arch!r}: one of {', '.join(ARCHS)}")
    row = ARCHS[arch]
    backbone = nn.Sequential(Sobel(), row.backbone(2)) if sobel else row.backbone(in_channels)
    return Network(backbone, row.features, row.head, num_classes, unit_length, row.channels_last)
