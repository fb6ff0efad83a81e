"""Any classification network of torchvision, with a file of its weights or the published ones.

    --encoder torchvision:resnet50 --encoder-weights resnet50-11ad3fa6.pth

torchvision publishes several weights per network, each with its own preprocessing.  The name of a
published file ends with the start of its SHA-256, by which a file is recognised; otherwise the
preprocessing is that of the default weights, with a line.  Features are those before the last
linear layer.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch

from models.encoders.onnx_session import digest_of_files, shorten
from models.encoders.spec import (
    HUB,
    Encoder,
    EncoderEntry,
    SizeOptions,
    WeightsOptions,
    encode_with_torch,
)
from models.encoders.timm_model import as_prepare, describe_transform
from models.encoders.weights import (
    digest_of_tensors,
    list_weight_files,
    load_weights,
    read_weights,
    require_weights,
)
from utils.errors import UserError

HEADS = ("fc", "classifier", "head", "heads")  # names of the classifier in torchvision's networks
RESIZE_RATIO = 256 / 224  # of the shorter side to the crop, for another --encoder-size


def list_files(*, weights: WeightsOptions) -> Sequence[str]:
    """The file of the weights."""
    return list_weight_files(weights.encoder_weights)


def load(
    model: str, device: torch.device, *, weights: WeightsOptions, size: SizeOptions
) -> Encoder:
    """Raises UserError for an unknown model, and for weights that are missing or of another one."""
    import torchvision  # takes seconds, so only where it is used

    published = _find_published_weights(model)
    path = require_weights(weights.encoder_weights, f"torchvision:{model}")
    network = torchvision.models.get_model(model, weights=None)
    notes: tuple[str, ...] = ()
    if path == HUB:
        chosen = published.DEFAULT
        try:
            tensors = dict(chosen.get_state_dict(progress=True, check_hash=True))
        except Exception as error:  # the library raises many kinds
            raise UserError(
                f"the weights of torchvision:{model} cannot be downloaded ({shorten(error)}); "
                "download them elsewhere and use --encoder-weights FILE"
            ) from None
    else:
        tensors = read_weights(path)
        chosen = _recognise_file(path, published)
        if chosen is None:
            chosen = published.DEFAULT
            notes = (
                f"{path} is not a file that torchvision publishes: images are prepared as for "
                f"{chosen}",
            )
    head = _last_layer_name(network)
    load_weights(network, tensors, [f"{head}."], path, f"torchvision:{model}")
    dimension = network.get_submodule(head).in_features
    parent, _, child = head.rpartition(".")
    setattr(network.get_submodule(parent), child, torch.nn.Identity())
    side = size.encoder_size
    sizes = {} if side is None else {"crop_size": side, "resize_size": round(side * RESIZE_RATIO)}
    transform = chosen.transforms(**sizes)
    return Encoder(
        as_prepare(transform),
        encode_with_torch(network, device),
        int(dimension),
        describe_transform(transform),
        digest_of_tensors(network.state_dict()),
        notes=notes,
    )


def _find_published_weights(model: str) -> Any:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if model not in names:
        raise UserError(
            f"--encoder torchvision:{model}: torchvision {torchvision.__version__} has no such "
            f"network for classification; it has {', '.join(names[:3])} and others"
        )
    return torchvision.models.get_model_weights(model)


def _recognise_file(path: str, published: Any) -> Any:
    """The published weights that the file holds, None where it holds none of them."""
    digest = digest_of_files([path])
    for weights in published:
        match = re.search(r"-([0-9a-f]{8})\.pth$", weights.url)
        if match and digest.startswith(match[1]):
            return weights
    return None


def _last_layer_name(network: torch.nn.Module) -> str:
    """The name of the last linear layer, which gives the classes."""
    names = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.partition(".")[0] in HEADS
    ]
    if not names:
        raise UserError(
            f"{type(network).__name__} of torchvision ends in no linear layer: use timm, or an "
            "ONNX file"
        )
    return names[-1]


ENCODER = EncoderEntry(load, list_files, model_example="resnet50")
