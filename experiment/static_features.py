"""Features that are the same in every cycle: the pixels of the images, the output of a network that
has not seen a label yet, and feature vectors that are given instead of images."""

from collections.abc import Callable
from functools import cache

import torch

from data.active_dataset import ActiveDataset
from data.augment import ImageStore
from data.feature_vectors import FeatureStore
from models.network import Network
from training.network_outputs import extract_outputs, plain_batches
from utils.graph.neighbor_stability import neighbor_agreement

# Bytes of all pixels as float32; above this they are averaged over squares first.
MAX_PIXEL_BYTES = 2**30

Extractor = Callable[[torch.Tensor], torch.Tensor]  # a batch (B, C, H, W) -> vectors (B, d)


def make_static_features(
    dataset: ActiveDataset,
    make_network: Callable[[], Network],
    pretrained_weights: dict[str, torch.Tensor] | None,
    seed: int,
    amp: bool,
) -> dict[str, Callable[[], torch.Tensor]]:
    """Name -> function without arguments, whose result is computed at most once.

    Features are (N, d). NAME_agreement is a scalar: how much the nearest neighbours by these
    features agree between augmentations of the images.

    make_network: returns a network with random weights.
    pretrained_weights: of its backbone; None without pre-training.
    seed: of the augmentations."""
    images = dataset.images
    if isinstance(images, FeatureStore):
        return static_features_of_vectors(images, make_network)

    extract_pixels = make_pixel_extractor(images)
    functions: dict[str, Callable[[], torch.Tensor]] = {
        "pixels": lambda: extract_in_batches(images, extract_pixels),
        "pixels_agreement": lambda: neighbor_agreement(extract_pixels, images, seed),
    }
    if pretrained_weights:

        @cache
        def load_pretrained_network() -> Network:
            network = make_network().to(images.device)
            network.backbone.load_state_dict(pretrained_weights)
            return network.eval()

        def extract_pretrained(batch: torch.Tensor) -> torch.Tensor:
            return load_pretrained_network()(batch)[1]

        def extract_pretrained_features() -> torch.Tensor:
            return extract_outputs(load_pretrained_network(), images, amp=amp)[0]

        functions["pretrained_features"] = extract_pretrained_features
        functions["pretrained_features_agreement"] = lambda: neighbor_agreement(
            extract_pretrained, images, seed
        )
    return {name: cache(function) for name, function in functions.items()}


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


def static_features_of_vectors(
    images: FeatureStore, make_network: Callable[[], Network]
) -> dict[str, Callable[[], torch.Tensor]]:
    """As `make_static_features`, for data that are feature vectors.

    The vectors stand in for features of pre-training. If the backbone has no parameters, they are
    also the network's features: always the same tensor, so that one graph serves all epochs."""
    network = make_network().eval()
    pretrained_features = cache(lambda: images.plain_batch(slice(None)))
    functions: dict[str, Callable[[], torch.Tensor]] = {"pretrained_features": pretrained_features}
    if not list(network.backbone.parameters()):
        normalize = torch.nn.functional.normalize if network.unit_length else torch.as_tensor
        functions["features"] = cache(lambda: normalize(pretrained_features()))
    return functions
