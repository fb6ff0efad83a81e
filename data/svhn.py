"""Street View House Numbers (Netzer et al., 2011), cropped digits, without the extra part."""

import functools
from pathlib import Path

import numpy as np

from data.download.published_files import load_published, paths_under_root
from data.images import Images, check_images
from data.mat_files import load_mat
from data.spec import Archive, DatasetSpec

IMAGE_SHAPE = (3, 32, 32)
# Paths below the data root -> MD5, from torchvision.
TRAIN_MD5 = {"SVHN/train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373"}
TEST_MD5 = {"SVHN/test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"}

ARCHIVE_BYTES = {"train_32x32.mat": 182040794, "test_32x32.mat": 64275384}


def _load_images(path: Path) -> Images:
    """X (32, 32, 3, N) and y (N, 1), where class 10 stands for the digit zero."""
    arrays = load_mat(path, ("X", "y"))
    if not {"X", "y"} <= set(arrays):
        raise ValueError("it does not contain X and y")
    pixels, labels = arrays["X"], np.atleast_1d(arrays["y"].squeeze())
    labels[labels == 10] = 0
    pixels = pixels.transpose(3, 2, 0, 1) if pixels.ndim == 4 else pixels
    return check_images(pixels, labels, str(path), num_classes=10, shape=IMAGE_SHAPE)


def _list_archives() -> list[Archive]:
    """Both parts, which are not packed, with URLs and MD5 from torchvision."""
    from torchvision.datasets import SVHN  # takes a second, so it is imported only for downloads

    parts = (SVHN.split_list[part] for part in ("train", "test"))
    return [
        Archive(f"SVHN/{file}", md5, ARCHIVE_BYTES[file], urls=(url,), contents=(f"SVHN/{file}",))
        for url, file, md5 in parts
    ]


SPEC = DatasetSpec(
    functools.partial(
        load_published, "svhn", train=[tuple(TRAIN_MD5)], test=[tuple(TEST_MD5)], load=_load_images
    ),
    num_classes=10,
    defaults={"arch": "cifar_cnn"},
    channels=3,
    size=32,
    max_shift=4,
    flip=False,
    mean=(111.609 / 255, 113.161 / 255, 120.565 / 255),
    std=(50.498 / 255, 51.259 / 255, 50.244 / 255),
    list_archives=_list_archives,
    list_files=functools.partial(paths_under_root, names=[*TRAIN_MD5, *TEST_MD5]),
    published_md5=TRAIN_MD5 | TEST_MD5,
)
