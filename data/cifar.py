"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): pickled batches."""

import functools
from pathlib import Path

import numpy as np

from data.cifar_pickle import load_pickled_batch
from data.download.published_files import load_published, paths_under_root
from data.images import Images, check_images
from data.spec import Archive, DatasetSpec

IMAGE_SHAPE = (3, 32, 32)
# Paths below the data root -> MD5, from torchvision.
CIFAR10_TRAIN_MD5 = {
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
CIFAR10_TEST_MD5 = {"cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e"}
CIFAR100_TRAIN_MD5 = {"cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d"}
CIFAR100_TEST_MD5 = {"cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}

ARCHIVE_BYTES = {"cifar10": 170498071, "cifar100": 169001437}


def _make_spec(
    name: str,
    num_classes: int,
    label_key: str,
    train: dict[str, str],
    test: dict[str, str],
) -> DatasetSpec:
    load = functools.partial(_load_images, label_key=label_key, num_classes=num_classes)
    train_files, test_files = ([(file,) for file in part] for part in (train, test))
    return DatasetSpec(
        functools.partial(load_published, name, train=train_files, test=test_files, load=load),
        num_classes=num_classes,
        defaults={"arch": "cifar_cnn"},
        channels=3,
        size=32,
        max_shift=4,
        flip=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        list_archives=functools.partial(_list_archives, name, contents=(*train, *test)),
        list_files=functools.partial(paths_under_root, names=[*train, *test]),
        published_md5=train | test,
    )


def _list_archives(name: str, contents: tuple[str, ...]) -> list[Archive]:
    """The only archive, with the MD5 and URL from torchvision."""
    import torchvision.datasets  # takes a second, so it is imported only for downloads

    reader = getattr(torchvision.datasets, name.upper())
    urls = (reader.url,)
    return [Archive(reader.filename, reader.tgz_md5, ARCHIVE_BYTES[name], urls, contents)]


def _load_images(path: Path, label_key: str, num_classes: int) -> Images:
    batch = load_pickled_batch(path)
    for key in ("data", label_key):
        if key not in batch:
            raise ValueError(f"it contains no {key!r}")
    pixels = np.asarray(batch["data"])
    if pixels.shape[1:] == (np.prod(IMAGE_SHAPE),):
        pixels = pixels.reshape(-1, *IMAGE_SHAPE)
    return check_images(
        pixels, batch[label_key], str(path), num_classes=num_classes, shape=IMAGE_SHAPE
    )


CIFAR10_SPEC = _make_spec("cifar10", 10, "labels", CIFAR10_TRAIN_MD5, CIFAR10_TEST_MD5)
CIFAR100_SPEC = _make_spec("cifar100", 100, "fine_labels", CIFAR100_TRAIN_MD5, CIFAR100_TEST_MD5)
