"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017), padded from 28 x 28
to 32 x 32: idx files."""

import functools
import struct
from pathlib import Path
from typing import Any

import numpy as np

from data.download.published_files import load_published, paths_under_root
from data.images import Images, check_images
from data.spec import Archive, DatasetSpec

# Paths below the data root -> MD5 of the unpacked files.  For Fashion-MNIST only the MD5 of the
# packed files are published.
TRAIN_MD5 = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
}
TEST_MD5 = {
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FILE_PREFIXES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
ARCHIVE_BYTES = {
    "MNIST": (9912422, 28881, 1648877, 4542),
    "FashionMNIST": (26421880, 29515, 4422102, 5148),
}  # of the packed files, in the order of FILE_PREFIXES
IDX_UINT8_CODE = 0x08  # the data type code of unsigned bytes


def _load_images(images: Path, labels: Path) -> Images:
    part = check_images(
        _read_idx(images, 3)[:, None],
        _read_idx(labels, 1),
        str(images),
        labels_source=str(labels),
        num_classes=10,
        shape=(1, 28, 28),
    )
    padded = np.pad(part.pixels[:].numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    return check_images(padded, part.labels)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in an idx file: two zero bytes, type, dimensions, sizes (big-endian), values."""
    content = path.read_bytes()
    head = struct.calcsize(f">I{dimensions}I")
    magic, *shape = struct.unpack_from(f">I{dimensions}I", content)
    if magic != (IDX_UINT8_CODE << 8) + dimensions:
        raise ValueError(f"{path.name} is not a {dimensions}-dimensional idx file of bytes")
    if len(content) - head != np.prod(shape, dtype=object):
        raise ValueError(f"{path.name} has {len(content) - head} bytes for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def list_archives(name: str) -> list[Archive]:
    """The packed files of MNIST or FashionMNIST, with MD5 and mirrors from torchvision."""
    import torchvision.datasets  # takes a second, so it is imported only for downloads

    reader, folder = getattr(torchvision.datasets, name), f"{name}/raw"
    sizes = dict(zip(FILE_PREFIXES, ARCHIVE_BYTES[name], strict=True))
    return [
        Archive(
            f"{folder}/{file}",
            md5,
            sizes[file.partition("-idx")[0]],
            urls=tuple(f"{mirror}{file}" for mirror in reader.mirrors),
            contents=(f"{folder}/{file.removesuffix('.gz')}",),
        )
        for file, md5 in reader.resources
    ]


def _make_spec(name: str, folder: str, **fields: Any) -> DatasetSpec:
    """folder: name of torchvision's class, and of its folder below the data root."""
    train, test = (
        [file.replace("MNIST", folder, 1) for file in part] for part in (TRAIN_MD5, TEST_MD5)
    )
    return DatasetSpec(
        functools.partial(
            load_published, name, train=[tuple(train)], test=[tuple(test)], load=_load_images
        ),
        num_classes=10,
        defaults={"arch": "cifar_cnn"},
        channels=1,
        size=32,
        max_shift=4,
        list_archives=functools.partial(list_archives, folder),
        list_files=functools.partial(paths_under_root, names=[*train, *test]),
        **fields,
    )


SPEC = _make_spec(
    "mnist", "MNIST", flip=False, mean=(0.1307,), std=(0.3081,), published_md5=TRAIN_MD5 | TEST_MD5
)
FASHION_SPEC = _make_spec("fashion_mnist", "FashionMNIST", flip=True)  # a mirrored shoe is a shoe
