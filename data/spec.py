"""What a row of the data-set registry holds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from utils.options.declare import Row


class Images(NamedTuple):
    """One part (training or test) of a data set."""

    pixels: torch.Tensor  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64


@dataclass(frozen=True)
class DatasetSpec(Row):
    """A row of DATASETS.  Its defaults name the network, "arch"."""

    load: Callable[..., tuple[Images, Images]]  # data root -> training and test images
    num_classes: int
    channels: int
    size: int  # pixels a side
    max_shift: int  # augmentation: translation in pixels
    flip: bool  # augmentation: is a mirrored image still its class?
    mean: tuple[float, ...] | None = None  # a channel, of pixels in [0, 1]; None: computed
    std: tuple[float, ...] | None = None
    download: Callable[[str], None] | None = None  # None: nothing to download
    # Data root -> the files that `load` reads, so that a finished run is known without reading
    # them; None: it has to read.
    files: Callable[[str], Iterable[Path]] | None = None


def images_of(pixels, labels) -> Images:
    """Pixels (N, C, H, W) and labels (N,) as they come from a reader, in the types of Images."""
    pixels = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.uint8))
    return Images(pixels, np.asarray(labels, dtype=np.int64))
