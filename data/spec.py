"""What a row of the data-set registry holds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data.images import Images, images_of
from utils.options.declare import Row


class Archive(NamedTuple):
    """A published file that can be fetched: packed (.gz, .tar.gz) or what is read itself."""

    path: str  # below the data root, where it is kept
    md5: str
    size: int  # bytes
    addresses: tuple[str, ...]  # where it is published, the first to ask first
    holds: tuple[str, ...]  # what is read of it, below the data root


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
    archives: Callable[[], list[Archive]] | None = None  # None: nothing to download
    # Data root -> the files that `load` reads, so that a finished run is known without reading
    # them; None: it has to read.
    files: Callable[[str], Iterable[Path]] | None = None
    # Files below the data root -> the md5 with which they were published, where they were.
    published: dict[str, str] = field(default_factory=dict)

    def read(self, root: str, **options) -> tuple[Images, Images]:
        """What `load` gives, with every row's shape and classes checked, whoever wrote it."""
        parts = zip(("training", "test"), self.load(root, **options), strict=True)
        shape = (self.channels, self.size, self.size)
        return tuple(
            images_of(*part, f"the {name} part", num_classes=self.num_classes, shape=shape)
            for name, part in parts
        )
