"""Networks, all called as `model(x) -> (logits, features)`, one entry each in ARCHS; pre-trained
encoders of images, one entry each in ENCODERS."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.cnn import cifar_cnn, sized_cnn, small_cnn
from models.encoders import (
    efficientnet_lite0,
    mobilenet_v3_small,
    onnx_model,
    timm_model,
    torchvision_model,
)
from models.identity import identity_backbone
from models.layers.sobel import Sobel
from models.mlp import HIDDEN_UNITS, mlp
from models.network import HeadFactory, Network, linear_head, weight_norm_head
from models.resnet import resnet18
from utils.errors import UserError
from utils.options.converters import ChoiceConverter, make_number_type, one_of
from utils.options.option import Component, Condition, OptionGroup, OptionValues, option
from utils.options.schema import Registry


@dataclass(frozen=True)
class Arch(Component):
    """A network architecture, an entry of ARCHS.

    make_backbone: in_channels and the entry's option groups -> a module that maps images
    (B, in_channels, H, W) to features (B, feature_dim).
    feature_dim: None for as many as in_channels.
    min_image_size: pixels per side that the backbone needs.
    takes_image_size: whether make_backbone also takes `size`, the images' pixels per side.
    has_dropout: whether the backbone contains dropout.
    takes_features: whether the network takes feature vectors (B, in_channels) instead of images.
    channels_last: whether this memory layout is the faster one on the CPU and on GPUs with tensor
    cores, as measured there."""

    make_backbone: Callable[..., nn.Module]
    feature_dim: int | None
    make_head: HeadFactory = linear_head
    min_image_size: int = 1
    takes_image_size: bool = False
    has_dropout: bool = False
    takes_features: bool = False
    channels_last: bool = False


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
    # On features of length one, weights have to grow far: with ten labels, 50 epochs at a learning
    # rate of 0.2 end with a loss of 1.4, at a rate of 2 with 0.07.
    "linear": Arch(identity_backbone, feature_dim=None, takes_features=True, defaults={"lr": 2.0}),
    "mlp": Arch(mlp, feature_dim=HIDDEN_UNITS, takes_features=True),
}

ENCODERS = {
    "mobilenet_v3_small": mobilenet_v3_small.ENCODER,
    "efficientnet_lite0": efficientnet_lite0.ENCODER,
    "onnx": onnx_model.ENCODER,
    "timm": timm_model.ENCODER,
    "torchvision": torchvision_model.ENCODER,
}
DEFAULT_ENCODER = "mobilenet_v3_small"  # of embed.py


def parse_encoder(text: str) -> str:
    """NAME or NAME:MODEL of --encoder.  Raises argparse.ArgumentTypeError."""
    name, colon, model = text.partition(":")
    if name not in ENCODERS:
        raise argparse.ArgumentTypeError(f"{text!r} is unknown: choose from {', '.join(ENCODERS)}")
    example = ENCODERS[name].model_example
    if bool(example) != bool(model) or bool(colon) != bool(model):
        wanted = f"name a model, such as {name}:{example}" if example else f"use {name} alone"
        raise argparse.ArgumentTypeError(f"{text!r} is not an encoder: {wanted}")
    return text


@dataclass(frozen=True)
class EncoderOptions(OptionGroup):
    """A pre-trained network that turns images into features."""

    section = "encoder"
    encoder: str | None = option(
        None,
        "Pre-trained encoder: the run learns from its features instead of pixels. timm and "
        "torchvision need the name of a model, as in timm:vit_small_patch14_dinov2.lvd142m.",
        type=ChoiceConverter(parse_encoder, ENCODERS),
        metavar="NAME[:MODEL]",
        default_text="none",
    )


def encoder_key(options: OptionValues) -> str | None:
    """The selected key of ENCODERS, None without an encoder."""
    return options.encoder.partition(":")[0] if options.encoder else None


def create_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    size: int = 32,
    unit_length: bool = True,
    sobel: bool = False,
    head_dropout: float = 0.0,
    **groups: Any,
) -> Network:
    """A network with random weights from torch's default generator.

    arch: a key of ARCHS.
    in_channels: channels of the images, or length of the feature vectors.
    size: pixels per side, for an architecture that depends on it.
    unit_length: whether features are scaled to unit length before the head.
    sobel: whether the backbone receives image gradients instead of pixels.
    head_dropout: share of the features that is dropped before the head.
    groups: the option groups of the architecture, by parameter name.

    Raises ValueError for an unknown architecture."""
    if arch not in ARCHS:
        raise ValueError(f"unknown network {arch!r}: one of {', '.join(ARCHS)}")
    entry = ARCHS[arch]
    groups |= {"size": size} if entry.takes_image_size else {}
    backbone = entry.make_backbone(2 if sobel else in_channels, **groups)
    if sobel:
        backbone = nn.Sequential(Sobel(), backbone)
    return Network(
        backbone,
        entry.feature_dim or in_channels,
        entry.make_head,
        num_classes,
        unit_length=unit_length,
        channels_last=entry.channels_last,
        head_dropout=head_dropout,
    )


def require_dropout(options: OptionValues, requester: str) -> None:
    """Raises UserError where the network has no dropout, which `requester` needs.

    requester: a flag, for the message."""
    entry = ARCHS[options.arch]
    if entry.has_dropout or options.head_dropout:
        return
    alternatives = ", ".join(
        f"{name} (for images of at least {other.min_image_size} pixels per side)"
        if other.min_image_size > 1
        else name
        for name, other in ARCHS.items()
        if other.takes_features == entry.takes_features and other.has_dropout
    )
    raise UserError(
        f"{requester} needs dropout, which --arch {options.arch} does not have: add "
        f"--head-dropout{alternatives and f', or use --arch {alternatives}'}"
    )


def require_input_kind(options: OptionValues, has_features: bool) -> None:
    """Raises UserError where the network takes images and the data set has features, or vice
    versa."""
    if ARCHS[options.arch].takes_features != has_features:
        suitable = ", ".join(
            name for name, entry in ARCHS.items() if entry.takes_features == has_features
        )
        takes, has = ("images", "features") if has_features else ("features", "images")
        raise UserError(
            f"--arch {options.arch} takes {takes}, --dataset {options.dataset} has {has}: use one "
            f"of {suitable}"
        )


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """The network, except for options of its head alone."""

    section = "network"
    arch: str = option(
        None,
        "Architecture of the network.",
        type=one_of(ARCHS),
        flags=("--arch", "-a"),
        default_text="depends on --dataset",
    )
    isL2: bool = option(True, "Scale the features to unit length before the classifier head.")

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        if dataset.size < ARCHS[self.arch].min_image_size:
            suitable = [
                name
                for name, arch in ARCHS.items()
                if dataset.size >= arch.min_image_size and not arch.takes_features
            ]
            raise UserError(
                f"--arch {self.arch} needs images of at least {ARCHS[self.arch].min_image_size} "
                f"pixels per side, --dataset {options.dataset} has {dataset.size}: use one of "
                f"{', '.join(suitable)}"
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
    """Options of the classifier head alone.  Pre-training has its own head, so runs with different
    values share pre-trained weights."""

    section = "network"
    head_dropout: float = option(
        0.0,
        "Dropout rate on the features before the classifier head; 0 disables it.",
        type=make_number_type(float, above=0, below=1),
        read_if=Condition(lambda options: options.head_dropout > 0, "a value above 0"),
    )


REGISTRY = Registry(ARCHS, lambda options: options.arch, "--arch {}")
ENCODER_REGISTRY = Registry(ENCODERS, encoder_key, "--encoder {}")
