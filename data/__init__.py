"""Data sets, splits, the label state, augmentation and batches.  One row a data set in DATASETS."""

from data import arrays, cifar, digits, features, folder, mnist, svhn
from data.spec import DatasetSpec, Images
from utils.options.converters import one_of
from utils.options.option import Choice, Option, Part

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

DATASET = Part(
    "data", options=(Option("dataset", "digits", "what to learn", kind=one_of(DATASETS)),)
)
CHOICE = Choice("data", DATASETS, lambda args: args.dataset, "--dataset {}")

__all__ = ["DATASETS", "DatasetSpec", "Images"]
