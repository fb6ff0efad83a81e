"""Any model of timm, with a file of its weights or with the published ones: DINOv2, DINOv3, CLIP,
SigLIP, ConvNeXt and others.

    --encoder timm:vit_small_patch14_dinov2.lvd142m --encoder-weights model.safetensors

Size, crop, interpolation, mean and deviation are those of the model's configuration in timm.  They
depend on the tag, the part behind the dot, where one network has several published weights; without
a tag timm takes its first one.  Features are those before the classifier.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.encoders.onnx_session import shorten
from models.encoders.spec import (
    HUB,
    Encoder,
    EncoderEntry,
    Prepare,
    SizeOptions,
    WeightsOptions,
    encode_with_torch,
    import_package,
)
from models.encoders.weights import (
    digest_of_tensors,
    list_weight_files,
    load_weights,
    read_weights,
    require_weights,
)
from utils.errors import UserError


def list_files(*, weights: WeightsOptions) -> Sequence[str]:
    """The file of the weights."""
    return list_weight_files(weights.encoder_weights)


def load(
    model: str, device: torch.device, *, weights: WeightsOptions, size: SizeOptions
) -> Encoder:
    """Raises UserError for an unknown model, and for weights that are missing or of another one."""
    timm = import_package("timm", "timm", "--encoder timm")
    path = require_weights(weights.encoder_weights, f"timm:{model}")
    if not timm.is_model(model.partition(".")[0]):
        close = ", ".join(timm.list_models(f"*{model.partition('.')[0]}*")[:3])
        raise UserError(
            f"--encoder timm:{model}: timm {timm.__version__} has no such model"
            + (f"; it has {close}" if close else "; timm.list_models() names them")
        )
    network = _create_network(timm, model, path, size.encoder_size)
    settings = timm.data.resolve_model_data_config(network)
    side = size.encoder_size or settings["input_size"][1]
    settings["input_size"] = (3, side, side)
    transform = timm.data.create_transform(**settings, is_training=False)
    return Encoder(
        as_prepare(transform),
        encode_with_torch(network, device),
        int(getattr(network, "head_hidden_size", network.num_features)),  # type: ignore[arg-type]
        describe_transform(transform),
        digest_of_tensors(network.state_dict()),
    )


def _create_network(timm: Any, model: str, path: str, side: int | None) -> torch.nn.Module:
    """The network without classifier, with its weights."""
    settings: dict[str, Any] = {"num_classes": 0, "pretrained": path == HUB}
    weights = {} if path == HUB else read_weights(path)
    if side is not None:
        settings["img_size"] = side
    try:
        try:
            network = timm.create_model(model, **settings)
        except TypeError:  # networks of convolutions take images of any size
            settings.pop("img_size", None)
            network = timm.create_model(model, **settings)
        # What timm itself applies to files of other projects, such as Meta's of DINOv2.
        convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        if convert and weights:
            with suppress(Exception):  # of a file of another model; what it lacks is said below
                weights = convert(weights, network)
    except Exception as error:  # the library raises many kinds
        if path == HUB:
            raise UserError(
                f"the weights of timm:{model} cannot be downloaded ({shorten(error)}); download "
                "them elsewhere and use --encoder-weights FILE"
            ) from None
        raise UserError(
            f"{path} does not hold the weights of timm:{model} ({shorten(error)}); name the "
            "model that the file was saved from"
        ) from None
    if path != HUB:  # by timm itself, weights of any other model would be accepted with a warning
        head = network.pretrained_cfg.get("classifier") or ()
        heads = (head,) if isinstance(head, str) else tuple(head)
        load_weights(network, weights, [f"{name}." for name in heads], path, f"timm:{model}")
    return network


def as_prepare(transform: Any) -> Prepare:
    """A transform of torchvision's kind as Encoder.prepare."""

    def prepare(image: Image.Image) -> np.ndarray:
        return np.ascontiguousarray(transform(image).numpy())

    return prepare


def describe_transform(transform: Any) -> str:
    """What a transform of torchvision's kind does, on one line."""
    return " ".join(str(transform).split())


ENCODER = EncoderEntry(load, list_files, model_example="vit_small_patch14_dinov2.lvd142m")
