"""Flipped bits in the newer checkpoint: each is noticed, and the older one is gone on from."""

import logging
import random
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch

from experiment.checkpoint import Checkpoints, load_checkpoint, previous_checkpoint_path
from tests.stress.kills import finish, same
from utils.console import log


def flips(number: int, seed: int, runs: int = 5) -> str:
    """So many flips, one at a time, and so many of them with the whole command after.

    Raises AssertionError where one was not noticed, or a run came back different."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kind = "--al-method coreset"
        for name in ("whole", "killed"):
            finish(root / name, kind)
        checkpoints = Checkpoints(root / "killed" / "run" / "checkpoint.pt", lambda state: None)
        for turn in range(number):
            newer, older = (path.read_bytes() for path in paths(checkpoints))
            before = load_checkpoint(previous_checkpoint_path(checkpoints.path))
            spoil(checkpoints.path, rng.randrange(8 * len(newer)))
            if turn < runs:
                finish(root / "killed", kind)
                same(root, kind)
                told = (root / "killed" / "errors").read_text()
                assert told.count("is damaged: going on from the checkpoint before") == turn + 1
            else:
                with warnings() as told:
                    assert equal(checkpoints.load_latest(), before), "not the older one"
                assert len(told) == 1 and "is damaged" in told[0]
            for path, content in zip(paths(checkpoints), (newer, older), strict=True):
                path.write_bytes(content)
    return f"{number} flipped bits noticed, {runs} of them by the whole command"


@contextmanager
def warnings():
    """What is warned of within, instead of on the terminal."""
    told, handler = [], logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    log.addHandler(handler)
    yield told
    log.removeHandler(handler)


def paths(checkpoints: Checkpoints) -> tuple[Path, Path]:
    return checkpoints.path, previous_checkpoint_path(checkpoints.path)


def spoil(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def equal(a, b) -> bool:
    """Of plain types and tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b
