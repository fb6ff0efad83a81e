"""A session of ONNX Runtime for one file, with one input of images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.encoders.spec import import_package
from utils.errors import SystemRefusal, UserError

GPU_PROVIDER = "CUDAExecutionProvider"


def open_session(path: str, device: torch.device, needed_by: str) -> Any:
    """An onnxruntime.InferenceSession on the device.

    needed_by: the flag that asks for it, for messages.
    Raises UserError where the package is missing or the file is not a model, SystemRefusal where
    it cannot be read."""
    runtime = import_package("onnxruntime", "onnxruntime", needed_by)
    runtime.set_default_logger_severity(4)  # what it has to say reaches the user as one line
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if GPU_PROVIDER not in runtime.get_available_providers():
            raise UserError(
                f"{needed_by} on --device {device} needs the package onnxruntime-gpu in place of "
                "onnxruntime; use --device cpu"
            )
        providers = [(GPU_PROVIDER, {"device_id": device.index or 0}), *providers]  # type: ignore
    require_file(path)
    try:
        return runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the package raises many kinds
        raise UserError(
            f"{path} is not a model that ONNX Runtime can read ({shorten(error)}); export it "
            "again, with the file of its weights beside it if there is one"
        ) from None


def require_file(path: str) -> None:
    """Raises UserError where there is no such file, SystemRefusal where it cannot be read."""
    if not Path(path).is_file():
        raise UserError(f"--encoder-weights {path} is not a file")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise SystemRefusal(f"{path} cannot be read: {error.strerror}") from None


def list_model_files(path: str) -> list[str]:
    """The model, and the files beside it that it names, which hold its weights (external data)."""
    model = Path(path)
    if not model.is_file():
        return [path]
    content = model.read_bytes()
    others = [p for p in sorted(model.parent.iterdir()) if p != model and p.is_file()]
    return [path, *(str(p) for p in others if p.name.encode() in content)]


def digest_of_files(paths: Sequence[str]) -> str:
    """16 hexadecimal digits that depend on the contents of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(2**24):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def shorten(error: Exception, length: int = 160) -> str:
    """The message of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 3] + "..."
