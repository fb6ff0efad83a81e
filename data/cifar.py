"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009)."""

import functools
import os
from pathlib import Path

from data.spec import DatasetSpec
from data.torchvision_files import read, reader


def _spec(name: str, num_classes: int, folder: str) -> DatasetSpec:
    return DatasetSpec(
        functools.partial(
            read, name, load_part=functools.partial(_load_part, name), arrays=_arrays
        ),
        num_classes=num_classes,
        defaults={"arch": "cifar_cnn"},
        channels=3,
        size=32,
        max_shift=4,
        flip=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        download=functools.partial(_download, name),
        files=lambda root: Path(root, folder).glob("*"),
    )


def _load_part(name: str, root: str, train: bool):
    return reader(name.upper(), _files)(root, train=train)


def _files(dataset) -> list[str]:
    names = [name for name, _ in dataset.train_list + dataset.test_list]
    return [os.path.join(dataset.root, dataset.base_folder, name) for name in names]


def _arrays(dataset):
    return dataset.data.transpose(0, 3, 1, 2), dataset.targets


def _download(name: str, root: str) -> None:
    """Both parts, which come in one archive, checked by torchvision."""
    reader(name.upper())(root, train=True, download=True)


CIFAR10_SPEC = _spec("cifar10", 10, "cifar-10-batches-py")
CIFAR100_SPEC = _spec("cifar100", 100, "cifar-100-python")
