"""What an entry of the data set registry describes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.feature_scale import FeatureScale
from data.feature_vectors import Features
from data.images import Images, check_images
from data.value_scale import ValueScale
from utils.options.option import Component

if TYPE_CHECKING:
    from data.folder_listing import FolderListing


class Archive(NamedTuple):
    """A published file that can be downloaded: packed (.gz, .tar.gz), or one that is read as is."""

    path: str  # below the data root, where it is kept
    md5: str
    size: int  # bytes
    urls: tuple[str, ...]  # in the order in which to try them
    contents: tuple[str, ...]  # the files in it that are read, below the data root


class LoadedDataset(NamedTuple):
    """A data set as its reader returns it.

    spec_fields: values for the fields of DatasetSpec that its entry leaves open.
    class_names: empty where the classes have no names.
    image_paths: of each training image, for people to look at; empty where there are none.
    warnings: for the user, one line each.
    fingerprint: data.images.data_fingerprint of both parts, where the reader has it already; with
    row numbers, data.array_rows.fingerprint_with_rows.
    row_numbers, test_row_numbers: (N,) int64, the row in the user's file of each training and test
    image, where both parts are rows of one array; None where an index is the position in a part.
    contents_fingerprint: of pixels and labels without the row numbers, as earlier versions computed
    it; empty where it equals `fingerprint`.
    test_paths: as image_paths, of the test part.
    image_files: for feature vectors, the image file of each training row, "" where there is none.
    preprocessing: what preprocessing.json records of how stored values became these.
    feature_scale: for feature vectors, how they are centred and scaled.
    value_scales: kind of the stored values (data.value_scale.value_kind) -> their scale; a kind
    that is missing had the usual 8 bits.
    page: what was used of files with several pages, for other files of the same kind.
    validation: a second part on which to report the accuracy.
    shown_pixels: (N, C, S, S) of the training images, for features of images that are no files.
    notes: lines for the log that are no warnings."""

    train: Images | Features
    test: Images | Features
    spec_fields: Mapping[str, Any] = MappingProxyType({})
    class_names: tuple[str, ...] = ()
    image_paths: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    row_numbers: np.ndarray | None = None
    test_row_numbers: np.ndarray | None = None
    contents_fingerprint: str = ""
    test_paths: tuple[str, ...] = ()
    image_files: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = MappingProxyType({})
    feature_scale: FeatureScale | None = None
    value_scales: Mapping[str, ValueScale] = MappingProxyType({})
    page: str = "first"
    validation: Images | Features | None = None
    notes: tuple[str, ...] = ()
    shown_pixels: Any = None


@dataclass(frozen=True)
class DatasetSpec(Component):
    """An entry of DATASETS.  Its defaults include the network, "arch".

    The entry of a published data set describes its images, and `load` returns the training and the
    test part.  The entry of a reader of the user's own data leaves these fields None, and `load`
    returns them as LoadedDataset.spec_fields."""

    load: Callable[..., tuple[Images, Images] | LoadedDataset]  # the data root, options -> the data
    num_classes: int | None = None
    channels: int | None = None  # for feature vectors their dimension
    size: int | None = None  # side in pixels; 1 for feature vectors
    max_shift: int | None = None  # augmentation: translation in pixels
    flip: bool | None = None  # augmentation: whether a mirrored image keeps its class
    mean: tuple[float, ...] | None = None  # per channel, of pixels in [0, 1]; None: computed
    std: tuple[float, ...] | None = None  # as mean
    has_feature_vectors: bool = False  # features of any encoder instead of images
    list_archives: Callable[[], list[Archive]] | None = None  # None: nothing to download
    # Data root -> the files that `load` reads.  By them a finished run is recognised without
    # reading the data; None: the data must be read.
    list_files: Callable[[str], Iterable[Path]] | None = None
    # Data root -> its image files, which an encoder reads at their full size; None: an encoder sees
    # the pixels that `load` returns.
    list_images: Callable[[str], "FolderListing"] | None = None
    # Files below the data root -> their published MD5; without those whose MD5 is not published.
    published_md5: dict[str, str] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        """Whether these are the user's own data: the name does not determine the content."""
        return self.num_classes is None

    def load_and_check(self, root: str, **options: Any) -> LoadedDataset:
        """The data, with all spec_fields.

        Shape and classes of a published data set are checked here.  A reader of the user's own
        data, which returns a LoadedDataset, does that itself.
        root: the data root; options: the groups of options that `load` takes, by parameter.
        Raises UserError for missing or invalid data."""
        loaded = self.load(root, **options)
        if isinstance(loaded, LoadedDataset):
            return loaded
        assert self.channels is not None and self.size is not None  # this entry is not custom
        shape = (self.channels, self.size, self.size)
        train, test = (
            check_images(
                part.pixels,
                part.labels,
                f"the {name} part",
                num_classes=self.num_classes,
                shape=shape,
            )
            for name, part in zip(("training", "test"), loaded, strict=True)
        )
        names = ("num_classes", "channels", "size", "max_shift", "flip")
        return LoadedDataset(train, test, {name: getattr(self, name) for name in names})
