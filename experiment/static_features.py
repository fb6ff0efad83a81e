"""Features that are the same in every cycle: the pixels of the images, the output of a network that
has not seen a label yet, and feature vectors that are given instead of images."""

from collections.abc import Callable
from functools import cache

import torch

from data.active_dataset import ActiveDataset
from data.feature_vectors import FeatureStore
from data.pixel_features import extract_in_batches, make_pixel_extractor
from models.network import Network
from training.network_outputs import extract_outputs
from utils.graph.neighbor_stability import neighbor_agreement


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
