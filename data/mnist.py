"""MNIST (LeCun et al., 1998), padded from 28 x 28 to 32 x 32."""

import functools
from pathlib import Path

import numpy as np

from data.spec import DatasetSpec
from data.torchvision_files import read, reader


def _load_part(root: str, train: bool):
    return reader("MNIST")(root, train=train)


def _arrays(dataset):
    pixels = np.pad(dataset.data.numpy(), ((0, 0), (2, 2), (2, 2)))
    return pixels[:, None], dataset.targets.numpy()


def download(root: str) -> None:
    """Both parts, checked by torchvision."""
    for train in (True, False):
        reader("MNIST")(root, train=train, download=True)


SPEC = DatasetSpec(
    functools.partial(read, "mnist", load_part=_load_part, arrays=_arrays),
    num_classes=10,
    defaults={"arch": "cifar_cnn"},
    channels=1,
    size=32,
    max_shift=4,
    flip=False,
    mean=(0.1307,),
    std=(0.3081,),
    download=download,
    files=lambda root: Path(root, "MNIST", "raw").glob("*"),
)
