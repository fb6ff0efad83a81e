"""What an entry of the registry of encoders describes, and options that several entries read."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image

from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text
from utils.options.option import Component, OptionGroup, option

INSTALL_COMMAND = "pip install -r requirements.txt --group encoders"
HUB = "hub"  # value of --encoder-weights: download the published weights
MAX_SIDE = 4096
CPU_IMAGES = 4  # at a time in a network of torch

Prepare: TypeAlias = Callable[[Image.Image], np.ndarray]


class Encoder(NamedTuple):
    """An encoder with its weights.

    prepare: an RGB image of Pillow, of any size -> (3, S, S) float32, or (S, S, 3) where the model
    wants it so; it may be called by several threads at once.
    encode: (B, ...) float32, as prepared -> (B, dimension) float32.
    preprocessing: what `prepare` does, in words; part of the identity of the features.
    weights_digest: of the numbers of the weights, or of their file.
    notes: lines for the user."""

    prepare: Prepare
    encode: Callable[[np.ndarray], np.ndarray]
    dimension: int
    preprocessing: str
    weights_digest: str
    fixed_batch_size: int | None = None  # where the model accepts only this one
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderEntry(Component):
    """An entry of ENCODERS.

    load: name of the model (text behind the colon of --encoder, "" without one), device and the
    entry's groups of options -> Encoder.  Raises UserError.
    list_files: groups of options -> files of the weights, by which a finished run is recognised.
    model_example: a name that may stand behind the colon; empty where none may."""

    load: Callable[..., Encoder]
    list_files: Callable[..., Sequence[str]]
    model_example: str = ""
    # As for the data set `features`, in the place of what suits the pixels of a data set.
    defaults: dict[str, Any] = field(
        default_factory=lambda: {"arch": "linear", "lp_k": "auto"}, kw_only=True
    )


@dataclass(frozen=True)
class WeightsOptions(OptionGroup):
    """Where the weights of an encoder are."""

    section = "encoder"
    encoder_weights: str | None = option(
        None,
        "File with the weights of the encoder: .onnx, .safetensors, .pth or .pt. hub: download the "
        "published weights (timm and torchvision).",
        type=non_empty_text,
        metavar="FILE|hub",
        identity=False,  # a digest of the weights is part of the identity
    )


@dataclass(frozen=True)
class SizeOptions(OptionGroup):
    """The side of an encoder's input."""

    section = "encoder"
    encoder_size: int | None = option(
        None,
        "Side in pixels of the images that the encoder sees.",
        type=make_number_type(int, at_least=8, sanity_limit=MAX_SIDE),
        metavar="S",
        default_text="from the model's own configuration",
    )


def import_package(module: str, package: str, needed_by: str) -> Any:
    """A package of the optional group `encoders`.

    Raises UserError, with the line that installs it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"{needed_by} needs the package {package}, which is not installed: {INSTALL_COMMAND}"
        ) from None


def encode_with_torch(model: torch.nn.Module, device: torch.device) -> Callable[..., np.ndarray]:
    """The function Encoder.encode of a network (B, 3, H, W) -> (B, d), which it prepares.

    On a CPU, channels-last and four images at a time are the fastest of both layouts and 1, 4 and
    16 images (one thread of an AMD EPYC, milliseconds per image: EfficientNet-lite0 49 against 57
    to 98, ResNet-18 87 against 89 to 130, ViT-tiny 74 against 74 to 84)."""
    model = model.eval().requires_grad_(False).to(device)
    model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode(batch: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(batch).to(device)
        images = images.contiguous(memory_format=torch.channels_last)
        parts = images.split(CPU_IMAGES) if device.type == "cpu" else [images]
        features = torch.cat([model(part).float().flatten(1) for part in parts])
        return np.ascontiguousarray(features.cpu().numpy())

    return encode
