"""Flipped bits in the newer checkpoint: each is detected, and the older checkpoint is used."""

import logging
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from experiment.checkpoint import Checkpoints, load_checkpoint, previous_checkpoint_path
from tests.stress.kills import assert_same_result, run_to_end
from utils.console import log


def flip_bits(num_flips: int, seed: int, num_runs: int = 5) -> str:
    """Flip one bit at a time; for the first num_runs flips the whole command resumes.

    Raises AssertionError if a flip is not detected, or if the result of a run differs."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kind = "--al-method coreset"
        run_to_end(root / "whole", kind)
        shutil.copytree(root / "whole", root / "killed")
        checkpoints = Checkpoints(root / "killed" / "run" / "checkpoint.pt", lambda state: None)
        paths = checkpoints.path, previous_checkpoint_path(checkpoints.path)
        for flip in range(num_flips):
            contents = [path.read_bytes() for path in paths]
            older = load_checkpoint(paths[1])
            flip_bit(paths[0], rng.randrange(8 * len(contents[0])))
            if flip < num_runs:
                errors = run_to_end(root / "killed", kind)
                assert_same_result(root, kind)
                assert errors.count("is damaged") == 1
            else:
                with collect_log_messages() as messages:
                    assert equal(checkpoints.load_latest(), older), "not the older checkpoint"
                assert len(messages) == 1 and "is damaged" in messages[0]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
    return f"{num_flips} flipped bits detected, {num_runs} of them by the whole command"


@contextmanager
def collect_log_messages() -> Iterator[list[str]]:
    """Yields a list that receives the messages of the log instead of the terminal."""
    messages: list[str] = []

    class ListHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = ListHandler()
    log.addHandler(handler)
    yield messages
    log.removeHandler(handler)


def flip_bit(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def equal(a: Any, b: Any) -> bool:
    """Whether two nested structures of tensors and plain types are equal."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b
