"""Networks, all `model(x) -> (logits, features)`.  One row each in ARCHS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.cnn import cifar_cnn, sized_cnn, small_cnn
from models.identity import identity_backbone
from models.layers.sobel import Sobel
from models.mlp import HIDDEN_UNITS, mlp
from models.network import Network, linear_head, weight_norm_head
from models.resnet import resnet18
from utils.errors import UserError
from utils.options.converters import make_number_type, one_of
from utils.options.option import Component, Condition, OptionGroup, OptionValues, option
from utils.options.schema import Registry


@dataclass(frozen=True)
class Arch(Component):
    """A row of the registry."""

    make_backbone: (
        Callable  # in_channels, the row's options -> module that maps images to (B, features)
    )
    feature_dim: int | None  # None: as many as in_channels
    make_head: Callable = linear_head
    min_image_size: int = 1  # pixels a side that the backbone needs
    takes_image_size: bool = (
        False  # does the backbone also take the images' size, in pixels a side?
    )
    has_dropout: bool = False  # has the backbone layers of dropout?
    takes_features: bool = (
        False  # does the backbone take given features (B, in_channels) for images?
    )
    channels_last: bool = False  # the faster layout of the two on the CPU, as measured there


ARCHS = {
    "cifar_cnn": Arch(
        cifar_cnn,
        feature_dim=128,
        make_head=weight_norm_head,
        min_image_size=12,
        has_dropout=True,
        channels_last=True,
    ),
    "resnet18": Arch(resnet18, feature_dim=512, channels_last=True),
    "small_cnn": Arch(small_cnn, feature_dim=64, min_image_size=2),
    "sized_cnn": Arch(sized_cnn, feature_dim=64, takes_image_size=True, channels_last=True),
    # Its weights start small beside features of length one: of ten labels, 50 epochs at a rate of
    # 0.2 leave a loss of 1.4, at 2 of 0.07.
    "linear": Arch(identity_backbone, feature_dim=None, takes_features=True, defaults={"lr": 2.0}),
    "mlp": Arch(mlp, feature_dim=HIDDEN_UNITS, takes_features=True),
}


def create_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    size: int = 32,
    unit_length: bool = True,
    sobel: bool = False,
    head_dropout: float = 0.0,
    **options,
) -> Network:
    """A network with random weights from torch's default generator.

    in_channels: of images, or how many numbers a vector has, for a network that takes these; size:
    pixels a side, for a network that is built for it; `unit_length` makes the features unit
    length before the head; `sobel` feeds the backbone image gradients instead of pixels;
    `head_dropout` is the share of the features dropped before the head; options: the row's own.
    Raises ValueError for an unknown network."""
    if arch not in ARCHS:
        raise ValueError(f"unknown network {arch!r}: one of {', '.join(ARCHS)}")
    row = ARCHS[arch]
    options |= {"size": size} if row.takes_image_size else {}
    backbone = row.make_backbone(2 if sobel else in_channels, **options)
    if sobel:
        backbone = nn.Sequential(Sobel(), backbone)
    more = (unit_length, row.channels_last, head_dropout)
    return Network(backbone, row.feature_dim or in_channels, row.make_head, num_classes, *more)


def require_dropout(options: OptionValues, requester: str) -> None:
    """Raises UserError, for `who` needs it, where the network has no dropout."""
    if not (ARCHS[options.arch].has_dropout or options.head_dropout):
        alike = [
            row
            for row in ARCHS.values()
            if row.takes_features == ARCHS[options.arch].takes_features
        ]
        having = ", ".join(
            f"{name} (images from {row.min_image_size} pixels on)"
            if row.min_image_size > 1
            else name
            for name, row in ARCHS.items()
            if row in alike and row.has_dropout
        )
        raise UserError(
            f"{requester} needs dropout, which --arch {options.arch} does not have: give its head one with "
            f"--head-dropout{having and f', or use one of {having}'}"
        )


def require_input_kind(options: OptionValues, has_features: bool) -> None:
    """Raises UserError where the network takes images and the data set has features (`vectors`), or
    the reverse."""
    if ARCHS[options.arch].takes_features != has_features:
        fitting = ", ".join(
            name for name, row in ARCHS.items() if row.takes_features == has_features
        )
        takes, has = ("images", "features") if has_features else ("features", "images")
        raise UserError(
            f"--arch {options.arch} takes {takes}, --dataset {options.dataset} has {has}: use one of "
            f"{fitting}"
        )


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """The network, without what only its head has."""

    section = "network"
    arch: str = option(
        None,
        "Architecture of the network.",
        type=one_of(ARCHS),
        flags=("--arch", "-a"),
        default_text="the data set's",
    )
    isL2: bool = option(True, "Scale the features to unit length before the classifier head.")

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        if dataset.size < ARCHS[self.arch].min_image_size:
            fitting = [
                name
                for name, arch in ARCHS.items()
                if dataset.size >= arch.min_image_size and not arch.takes_features
            ]
            raise UserError(
                f"--arch {self.arch} needs images of at least {ARCHS[self.arch].min_image_size} "
                f"pixels per side, --dataset {options.dataset} has {dataset.size}: use one of "
                f"{', '.join(fitting)}"
            )


@dataclass(frozen=True)
class SobelOptions(OptionGroup):
    """Image gradients as the network's input."""

    section = "unsupervised pre-training"
    sobel: bool = option(
        False,
        "Feed Sobel image gradients to the network instead of pixels.",
        read_if=Condition(
            lambda options: options.add_unsupervised_pretraining, "--add-unsupervised-pretraining"
        ),
    )


@dataclass(frozen=True)
class HeadOptions(OptionGroup):
    """Options of the classifier head alone: pre-training has a head of its own, so that its weights
    are shared by runs with and without them."""

    section = "network"
    head_dropout: float = option(
        0.0,
        "Dropout rate on the features before the classifier head; 0 disables it.",
        type=make_number_type(float, above=0, below=1),
        read_if=Condition(lambda options: options.head_dropout > 0, "a value above 0"),
    )


REGISTRY = Registry(ARCHS, lambda options: options.arch, "--arch {}")
