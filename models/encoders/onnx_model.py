"""Any ONNX file with one input of images and an output of feature vectors, by ONNX Runtime.

    --encoder onnx --encoder-weights model.onnx

The layout follows from the shape of the input: (B, 3, S, S) or (B, S, S, 3).  A model that accepts
images of several sizes needs --encoder-size.  ONNX files do not say how their images are
normalised: --encoder-mean and --encoder-std do, by default the statistics of ImageNet, with a line.
An input of type uint8 gets pixels as they are.  The shorter side of an image is resized (bilinear),
and the longer one cropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models.encoders.onnx_session import (
    digest_of_files,
    list_model_files,
    open_session,
    shorten,
)
from models.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from models.encoders.spec import HUB, MAX_SIDE, Encoder, EncoderEntry, SizeOptions, WeightsOptions
from utils.errors import UserError
from utils.options.converters import non_empty_text, parse_channel_values
from utils.options.option import OptionGroup, option

FLAG = "--encoder onnx"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True)
class OnnxOptions(OptionGroup):
    """What an ONNX file does not say of itself."""

    section = "encoder"
    encoder_mean: str | None = option(
        None,
        "Mean of the red, green and blue pixels, in [0, 1], which is subtracted.",
        type=parse_channel_values,
        metavar="R,G,B",
        default_text="of ImageNet: 0.485,0.456,0.406",
    )
    encoder_std: str | None = option(
        None,
        "Standard deviation of the red, green and blue pixels, in [0, 1], by which they are "
        "divided.",
        type=parse_channel_values,
        metavar="R,G,B",
        default_text="of ImageNet: 0.229,0.224,0.225",
    )
    encoder_output: str | None = option(
        None,
        "Name of the output that holds the features.",
        type=non_empty_text,
        metavar="NAME",
        default_text="the only one of shape (images, features)",
    )


def list_files(*, weights: WeightsOptions) -> Sequence[str]:
    """The model, and the files of its weights."""
    return [] if weights.encoder_weights is None else list_model_files(weights.encoder_weights)


def load(
    model: str,
    device: torch.device,
    *,
    weights: WeightsOptions,
    size: SizeOptions,
    onnx: OnnxOptions,
) -> Encoder:
    """Raises UserError where the file is no model of images, or leaves open what it wants."""
    path = weights.encoder_weights
    if path is None or path == HUB:
        raise UserError(f"{FLAG} needs --encoder-weights FILE.onnx")
    session = open_session(path, device, FLAG)
    image_input, batch_size, preprocessing = _find_input(session, path, size.encoder_size)
    dtype, notes = TYPES[image_input.type], []
    if dtype == np.uint8:
        # Pixels 0 to 255 stay what they are.
        preprocessing = replace(preprocessing, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    else:
        mean, std = (_as_numbers(text) for text in (onnx.encoder_mean, onnx.encoder_std))
        preprocessing = replace(preprocessing, mean=mean or IMAGENET_MEAN, std=std or IMAGENET_STD)
        if mean is None or std is None:
            notes.append(
                f"{path} does not say how its images are normalised: the statistics of ImageNet "
                "are used (--encoder-mean and --encoder-std set others)"
            )
    output = _find_output(session, path, onnx.encoder_output)

    def encode(batch: np.ndarray) -> np.ndarray:
        images = (np.rint(batch) if dtype == np.uint8 else batch).astype(dtype, copy=False)
        if batch_size is None or len(images) == batch_size:
            return _run(session, output, image_input.name, images, path)
        padded = np.zeros((batch_size, *images.shape[1:]), dtype)
        padded[: len(images)] = images
        return _run(session, output, image_input.name, padded, path)[: len(images)]

    side = preprocessing.size
    shape = (side, side, 3) if preprocessing.channels_last else (3, side, side)
    dimension = encode(np.zeros((batch_size or 1, *shape), np.float32)).shape[1]
    description = f"{preprocessing.description}, output {output}"
    digest = digest_of_files(list_model_files(path))
    return Encoder(preprocessing, encode, dimension, description, digest, batch_size, tuple(notes))


def _as_numbers(text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(float(word) for word in text.split(","))


def _run(session: Any, output: str, name: str, images: np.ndarray, path: str) -> np.ndarray:
    """(B, ...) -> (B, d) float32"""
    try:
        features = session.run([output], {name: images})[0]
    except Exception as error:  # the package raises many kinds
        raise UserError(
            f"{path} cannot encode images of shape {images.shape[1:]} ({shorten(error)}); give the "
            "side that it wants with --encoder-size"
        ) from None
    if features.ndim < 2 or len(features) != len(images):
        raise UserError(
            f"{path}: its output {output} has shape {features.shape} for {len(images)} images, not "
            "one vector per image; name another with --encoder-output"
        )
    return np.ascontiguousarray(features.reshape(len(features), -1), np.float32)


def _find_input(session: Any, path: str, side: int | None) -> tuple[Any, int | None, Preprocessing]:
    """The input of images, its batch size (None for any), and how images are resized for it."""
    inputs = session.get_inputs()
    described = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
    one = inputs[0]
    channel_axes = [axis for axis in (1, 3) if len(one.shape) == 4 and one.shape[axis] == 3]
    if len(inputs) != 1 or one.type not in TYPES or not channel_axes:
        raise UserError(
            f"{path} has the input {described}, not one of colour images, (B, 3, S, S) or "
            "(B, S, S, 3) of floats or bytes; export the image encoder alone"
        )
    channels_last = channel_axes[0] == 3
    height, width = one.shape[1:3] if channels_last else one.shape[2:]
    fixed = {length for length in (height, width) if isinstance(length, int)}
    if len(fixed) > 1:
        raise UserError(f"{path} wants images of {height} x {width} pixels; only squares are given")
    if not fixed and side is None:
        raise UserError(
            f"{path} accepts images of several sizes: give the side in pixels with --encoder-size, "
            "such as --encoder-size 224"
        )
    own = fixed.pop() if fixed else side
    assert own is not None
    if not 0 < own <= MAX_SIDE:
        raise UserError(f"{path} wants images of {own} x {own} pixels, which is not possible")
    if side not in (None, own):
        raise UserError(f"{path} wants images of {own} pixels: leave --encoder-size {side} out")
    batch_size = one.shape[0] if isinstance(one.shape[0], int) else None
    return one, batch_size, Preprocessing(own, channels_last=channels_last)


def _find_output(session: Any, path: str, name: str | None) -> str:
    outputs = session.get_outputs()
    described = ", ".join(f"{one.name} {one.shape}" for one in outputs)
    if name is not None:
        if name not in [one.name for one in outputs]:
            raise UserError(f"--encoder-output {name}: {path} has {described}")
        return name
    vectors = [one.name for one in outputs if len(one.shape) == 2]
    if len(vectors) != 1:
        raise UserError(
            f"{path} has the outputs {described}: name the one that holds the features with "
            "--encoder-output"
        )
    return vectors[0]


ENCODER = EncoderEntry(load, list_files)
