"""The images or features of a data set on their device."""

from typing import TypeAlias

import numpy as np
import torch

from data.augment import ImageStore, channel_statistics
from data.feature_vectors import Features, FeatureStore
from data.images import Images
from data.memmap import make_image_store
from data.spec import DatasetSpec, LoadedDataset

Store: TypeAlias = ImageStore | FeatureStore


def make_validation_store(
    all_images: Store, validation: Images | Features
) -> tuple[Store, np.ndarray]:
    """The images of a validation part, prepared like the training images, and their labels."""
    if isinstance(validation, Features):
        assert isinstance(all_images, FeatureStore)
        features = validation.features.to(all_images.device)
        return FeatureStore(features, all_images.scale), validation.labels
    assert isinstance(all_images, ImageStore)
    mean, std = all_images.mean, all_images.std
    store = make_image_store(validation.pixels, mean, std, 0, False, all_images.device)
    return store, validation.labels


def make_stores(
    spec: DatasetSpec, loaded: LoadedDataset, device: torch.device | str
) -> tuple[Store, Store]:
    """The training and the test part on their device; only the training part is augmented."""
    stores = _make_plain_stores(spec, loaded, device)
    rows = (loaded.row_numbers, loaded.test_row_numbers)
    for store, numbers in zip(stores, rows, strict=True):
        store.row_numbers = numbers
    return stores


def _make_plain_stores(
    spec: DatasetSpec, loaded: LoadedDataset, device: torch.device | str
) -> tuple[Store, Store]:
    train, test = loaded.train, loaded.test
    if isinstance(train, Features):
        assert isinstance(test, Features)
        train_store, test_store = (
            FeatureStore(part.features.to(device), loaded.feature_scale) for part in (train, test)
        )
        return train_store, test_store
    assert isinstance(test, Images)
    mean, std = spec.mean, spec.std
    if mean is None or std is None:
        mean, std = map(tuple, channel_statistics(train.pixels))
    max_shift, flip = spec.max_shift or 0, bool(spec.flip)
    return (
        make_image_store(train.pixels, mean, std, max_shift, flip, device),
        make_image_store(test.pixels, mean, std, 0, False, device),
    )
