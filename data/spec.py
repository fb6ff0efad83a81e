"""What a row of the data-set registry holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch


class Images(NamedTuple):
    """One part (training or test) of a data set."""

    pixels: torch.Tensor  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64


@dataclass(frozen=True)
class DatasetSpec:
    """A row of DATASETS."""

    load: Callable[[str], tuple[Images, Images]]  # data root -> training and test images
    num_classes: int
    arch: str  # the default network
    channels: int
    size: int  # pixels a side
    max_shift: int  # augmentation: translation in pixels
    flip: bool  # augmentation: is a mirrored image still its class?
    mean: tuple[float, ...] | None = None  # a channel, of pixels in [0, 1]; None: computed
    std: tuple[float, ...] | None = None
    download: Callable[[str], None] | None = None  # None: nothing to download
    defaults: dict[str, Any] = field(default_factory=dict)  # better ones than the paper's
    lp_defaults: dict[str, Any] = field(default_factory=dict)  # further ones with --add-lp


def images_of(pixels, labels) -> Images:
    """Pixels (N, C, H, W) and labels (N,) as they come from a reader, in the types of Images."""
    pixels = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.uint8))
    return Images(pixels, np.asarray(labels, dtype=np.int64))
