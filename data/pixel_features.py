"""Feature vectors that are the pixels of the images."""

from collections.abc import Callable

import torch

from data.augment import ImageStore
from training.network_outputs import plain_batches

# Bytes of all pixels as float32; above this they are averaged over squares first.
MAX_PIXEL_BYTES = 2**30

Extractor = Callable[[torch.Tensor], torch.Tensor]  # a batch (B, C, H, W) -> vectors (B, d)


def make_pixel_extractor(images: ImageStore) -> Extractor:
    """A function that turns a batch of images (B, C, H, W) into vectors (B, d) of their pixels.

    If the pixels of all images would take more than MAX_PIXEL_BYTES, they are averaged over squares
    of 2 x 2 pixels, 4 x 4 pixels, and so on."""
    _, channels, height, width = images.plain_batch(slice(0, 1)).shape
    side, max_pixels = 1, MAX_PIXEL_BYTES // 4 / (len(images) * channels)
    while -(-height // side) * -(-width // side) > max_pixels and side < max(height, width):
        side *= 2
    if side == 1:
        return lambda batch: batch.flatten(1)
    average = torch.nn.AvgPool2d(side, ceil_mode=True)
    return lambda batch: average(batch).flatten(1)


def extract_in_batches(images: ImageStore, extractor: Extractor) -> torch.Tensor:
    """The vectors (N, d) of all images without augmentation, computed batch by batch."""
    first = extractor(images.plain_batch(slice(0, 1)))
    features, end = first.new_empty(len(images), first.shape[1]), 0
    for batch in plain_batches(images):
        features[end : end + len(batch)] = extractor(batch)
        end += len(batch)
    return features
