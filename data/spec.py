"""What a row of the data-set registry holds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from data.feature_vectors import Features
from data.images import Images, check_images
from utils.options.option import Component


class Archive(NamedTuple):
    """A published file that can be fetched: packed (.gz, .tar.gz) or what is read itself."""

    path: str  # below the data root, where it is kept
    md5: str
    size: int  # bytes
    urls: tuple[str, ...]  # where it is published, the first to ask first
    contents: tuple[str, ...]  # what is read of it, below the data root


class LoadedDataset(NamedTuple):
    """A data set as it was read.

    facts: fields of DatasetSpec that its row leaves to the data; classes: their names, where they
    have some; paths: of each training image, for people; notices: what the user should know, a line
    each; fingerprint: of both parts (data.active_dataset.fingerprint), where the reader has it."""

    train: Images | Features
    test: Images | Features
    spec_fields: Mapping[str, Any] = MappingProxyType({})
    class_names: tuple[str, ...] = ()
    image_paths: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class DatasetSpec(Component):
    """A row of DATASETS.  Its defaults name the network, "arch".

    A row of one data set says what its images are; one of the user's own data says None, and `load`
    gives what it found, as Found.facts."""

    load: Callable[
        ..., tuple[Images, Images] | LoadedDataset
    ]  # data root -> training and test images
    num_classes: int | None = None
    channels: int | None = None  # of vectors: their length
    size: int | None = None  # pixels a side; of vectors: 1
    max_shift: int | None = None  # augmentation: translation in pixels
    flip: bool | None = None  # augmentation: is a mirrored image still its class?
    mean: tuple[float, ...] | None = None  # a channel, of pixels in [0, 1]; None: computed
    std: tuple[float, ...] | None = None
    has_feature_vectors: bool = False  # features of any encoder in place of images
    list_archives: Callable[[], list[Archive]] | None = None  # None: nothing to download
    # Data root -> the files that `load` reads, so that a finished run is known without reading
    # them; None: it has to read.
    list_files: Callable[[str], Iterable[Path]] | None = None
    # Files below the data root -> the md5 with which they were published, where they were.
    published_md5: dict[str, str] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        """The user's own data: the name says nothing of what they are."""
        return self.num_classes is None

    def load_and_check(self, root: str, **options) -> LoadedDataset:
        """What `load` gives, with every row's shape and classes checked, whoever wrote it, and all
        facts."""
        found = self.load(root, **options)
        if self.is_custom:
            return found  # by the doors of data.images and data.feature_vectors, which know no more
        shape = (self.channels, self.size, self.size)
        parts = (
            check_images(*part, f"the {name} part", num_classes=self.num_classes, shape=shape)
            for name, part in zip(("training", "test"), found, strict=True)
        )
        names = ("num_classes", "channels", "size", "max_shift", "flip")
        return LoadedDataset(*parts, spec_fields={name: getattr(self, name) for name in names})
