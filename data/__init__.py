"""Data sets, splits, the label state, augmentation and batches.

DATASETS has one entry per data set.
"""

from dataclasses import dataclass

from data import arrays, cifar, digits, features, folder, mnist, svhn
from data.spec import DatasetSpec, Images
from utils.options.converters import one_of
from utils.options.option import OptionGroup, option
from utils.options.schema import Registry

DATASETS = {
    "digits": digits.SPEC,
    "mnist": mnist.SPEC,
    "fashion_mnist": mnist.FASHION_SPEC,
    "svhn": svhn.SPEC,
    "cifar10": cifar.CIFAR10_SPEC,
    "cifar100": cifar.CIFAR100_SPEC,
    "folder": folder.SPEC,
    "arrays": arrays.SPEC,
    "features": features.SPEC,
}


@dataclass(frozen=True)
class DatasetOptions(OptionGroup):
    """Which data set to read."""

    section = "data"
    dataset: str = option(
        "digits",
        "Data set to learn. folder, arrays and features read your own data from --data-root.",
        type=one_of(DATASETS),
    )


REGISTRY = Registry(DATASETS, lambda options: options.dataset, "--dataset {}")


__all__ = ["DATASETS", "DatasetSpec", "Images"]
