"""Files of weights, read without running anything in them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.encoders.onnx_session import require_file, shorten
from models.encoders.spec import HUB, import_package
from utils.errors import UserError

WRAPPERS = ("state_dict", "model", "model_state_dict", "teacher", "model_ema")


def list_weight_files(path: str | None) -> list[str]:
    """The file of --encoder-weights; none of what is downloaded."""
    return [] if path in (None, HUB) else [str(path)]


def require_weights(path: str | None, encoder: str) -> str:
    """Raises UserError where --encoder-weights is missing."""
    if path is None:
        raise UserError(
            f"--encoder {encoder} needs --encoder-weights FILE (.safetensors, .pth), or "
            "--encoder-weights hub to download the published ones"
        )
    return path


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of one that torch.save wrote, by name.

    A dict within a dict (state_dict, model, ...) is unpacked; a prefix "module." is dropped.
    Raises UserError for anything else; nothing is unpickled but plain values."""
    require_file(path)
    try:
        if Path(path).suffix.lower() == ".safetensors":
            package = import_package("safetensors.torch", "safetensors", f"{path}")
            content: Any = package.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # the libraries raise many kinds
        reason = shorten(error)
        if "weights_only" in str(error):
            reason = "it holds more than tensors and plain values, and nothing else is unpickled"
        raise UserError(
            f"{path} is not a file of weights ({reason}); save model.state_dict() with torch.save "
            "or safetensors"
        ) from None
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no weights by name; save model.state_dict()")
    tensors = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def load_weights(
    network: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    heads: Sequence[str],
    path: str,
    model: str,
) -> None:
    """Load weights into a network, all but those of its classifier.

    heads: how the names of the classifier's weights begin; path, model: for messages.
    Raises UserError where names or shapes differ."""
    own, starts = network.state_dict(), tuple(heads)
    expected = {name for name in own if not name.startswith(starts)}
    given = {name for name in weights if not name.startswith(starts)}
    missing, unexpected = sorted(expected - given), sorted(given - expected)
    shapes = [n for n in sorted(expected & given) if own[n].shape != weights[n].shape]
    faults = [
        f"{len(names)} tensors {words}, such as {names[0]}"
        for names, words in (
            (missing, "are missing"),
            (unexpected, "belong to another model"),
            (shapes, "have another shape"),
        )
        if names
    ]
    if faults:
        raise UserError(
            f"{path} does not hold the weights of {model}: {', '.join(faults)}; name the model "
            "that the file was saved from"
        )
    network.load_state_dict({name: weights[name] for name in expected}, strict=False)


def digest_of_tensors(weights: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits that depend on names, types, shapes and values, not on the file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()[:16]
