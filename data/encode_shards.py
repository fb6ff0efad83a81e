"""Encodes images in batches, while threads decode the next ones."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import numpy as np

from data.encoder_inputs import ImageSource
from data.image_formats import UnreadableImage
from utils.console import to_one_line
from utils.errors import UserError

READ_AHEAD = 2  # batches that are decoded while one is encoded


class EncodeSettings(NamedTuple):
    """How images become features.

    prepare: an image -> (...) float32; encode: (B, ...) -> (B, dimension) float32.
    description: of the encoder, plain types; part of what identifies the features."""

    prepare: Callable[[Any], np.ndarray]
    encode: Callable[[np.ndarray], np.ndarray]
    dimension: int
    description: dict[str, Any]
    batch_size: int
    skip_corrupt: bool = False


def encode_shards(
    images: ImageSource,
    shards: Sequence[range],
    settings: EncodeSettings,
    batch_size: int,
    executor: Executor,
) -> Iterator[tuple[range, np.ndarray, str, dict[str, str]]]:
    """Of each shard its rows (n, d), a digest of what was encoded, and what is unreadable."""
    batches = [
        range(start, min(start + batch_size, shard.stop))
        for shard in shards
        for start in range(shard.start, shard.stop, batch_size)
    ]
    prepared = _prepare_batches(images, batches, settings.prepare, executor)
    for shard in shards:
        rows, digest = [], hashlib.sha256()
        unreadable: dict[str, str] = {}
        for _ in range(shard.start, shard.stop, batch_size):
            batch, inputs, faults = next(prepared)
            features = _encode_readable(images, batch, inputs, settings)
            unreadable |= {str(position): reason for position, reason in faults.items()}
            for one in inputs:
                digest.update(b"unreadable" if one is None else hashlib.sha256(one.data).digest())
            rows.append(features)
        yield shard, np.concatenate(rows), digest.hexdigest()[:32], unreadable


def _encode_readable(
    images: ImageSource, batch: range, inputs: list[np.ndarray | None], settings: EncodeSettings
) -> np.ndarray:
    """(B, d) float32; zeros for images that cannot be read.

    Raises UserError where the encoder gives anything but B vectors of finite numbers."""
    example = next((one for one in inputs if one is not None), None)
    if example is None:
        return np.zeros((len(batch), settings.dimension), np.float32)
    blank = np.zeros_like(example)
    features = settings.encode(np.stack([blank if one is None else one for one in inputs]))
    if features.shape != (len(batch), settings.dimension):
        raise UserError(
            f"the encoder gave an array {features.shape} instead of "
            f"{(len(batch), settings.dimension)}; its output depends on more than the image"
        )
    features[[one is None for one in inputs]] = 0
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        name = images.describe(batch[int((~finite).argmax())])
        raise UserError(
            f"the encoder gave numbers that are not finite for {to_one_line(name)}; check its "
            "weights, and --encoder-mean and --encoder-std"
        )
    return features


def _prepare_batches(
    images: ImageSource,
    batches: Sequence[range],
    prepare: Callable[[Any], np.ndarray],
    executor: Executor,
) -> Iterator[tuple[range, list[np.ndarray | None], dict[int, str]]]:
    """Each batch with its prepared images, None for an unreadable one, whose reason is added.

    The threads decode the next batches meanwhile."""

    def read_one(position: int) -> np.ndarray | str:
        try:
            return np.ascontiguousarray(prepare(images.read(position)))
        except UnreadableImage as error:
            return str(error)

    waiting: deque[tuple[range, list[Future]]] = deque()
    following = iter(batches)
    try:
        while True:
            while len(waiting) <= READ_AHEAD and (batch := next(following, None)) is not None:
                waiting.append((batch, [executor.submit(read_one, place) for place in batch]))
            if not waiting:
                return
            batch, futures = waiting.popleft()
            results = [future.result() for future in futures]
            faults = {
                position: result
                for position, result in zip(batch, results, strict=True)
                if isinstance(result, str)
            }
            yield batch, [None if isinstance(r, str) else r for r in results], faults
    finally:
        for _, futures in waiting:
            for future in futures:
                future.cancel()
