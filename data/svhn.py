"""Street View House Numbers (Netzer et al., 2011), cropped digits, without the extra part."""

import functools
import os
from pathlib import Path

from data.spec import DatasetSpec
from data.torchvision_files import read, reader


def _load_part(root: str, train: bool):
    part = "train" if train else "test"
    return reader("SVHN", _files)(os.path.join(root, "SVHN"), split=part)


def _files(dataset) -> list[str]:
    return [os.path.join(dataset.root, dataset.filename)]


def _arrays(dataset):
    return dataset.data, dataset.labels


def download(root: str) -> None:
    """Both parts, checked by torchvision."""
    for part in ("train", "test"):
        reader("SVHN")(os.path.join(root, "SVHN"), split=part, download=True)


SPEC = DatasetSpec(
    functools.partial(read, "svhn", load_part=_load_part, arrays=_arrays),
    num_classes=10,
    defaults={"arch": "cifar_cnn"},
    channels=3,
    size=32,
    max_shift=4,
    flip=False,
    mean=(111.609 / 255, 113.161 / 255, 120.565 / 255),
    std=(50.498 / 255, 51.259 / 255, 50.244 / 255),
    download=download,
    files=lambda root: Path(root, "SVHN").glob("*.mat"),
)
