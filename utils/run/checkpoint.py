"""A checkpoint is one plain dict of tensors and plain types, whole or not there, and checked."""

import hashlib
import io
from pathlib import Path

import torch

from utils.errors import UserError
from utils.run.files import write_atomically

MARK = b"\nsha256:"  # between the zip archive and its checksum; zip readers skip both


def save_checkpoint(path: Path, state: dict) -> None:
    """One plain dict, written atomically, its checksum behind it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(path, content + MARK + hashlib.sha256(content).hexdigest().encode())


def load_checkpoint(path: Path) -> dict:
    """Raises UserError where the file is damaged."""
    content, _, checksum = path.read_bytes().rpartition(MARK)
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise UserError(f"{path} is damaged: delete it, and the run starts again")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
