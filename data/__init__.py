"""Data sets, splits, the label state, augmentation and batches.  One row a data set in DATASETS."""

from data import cifar, digits, mnist, svhn
from data.spec import DatasetSpec, Images

DATASETS = {
    "digits": digits.SPEC,
    "mnist": mnist.SPEC,
    "svhn": svhn.SPEC,
    "cifar10": cifar.CIFAR10_SPEC,
    "cifar100": cifar.CIFAR100_SPEC,
}

__all__ = ["DATASETS", "DatasetSpec", "Images"]
