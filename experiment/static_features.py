"""What is the same in every cycle of a run: the images' pixels, what a network that has seen no
label yet says of them, and features that are given in their place."""

from collections.abc import Callable
from functools import cache

import torch

from data.active_dataset import ActiveDataset
from training.network_outputs import extract_outputs, plain_batches
from utils.graph.neighbor_stability import neighbor_agreement

MAX_PIXEL_BYTES = (
    2**30
)  # bytes of all images' pixels as float32, beyond which they are averaged first


def make_static_features(
    problem: ActiveDataset,
    make_network: Callable,
    pretrained_weights: dict | None,
    seed: int,
    amp: bool,
) -> dict:
    """Name -> function without arguments, each computed once.  Beside features (N, d) stands how
    far two views agree on them, a number.

    make: -> a network; start: its backbone's weights after pre-training, None without."""
    images = problem.images
    if problem.has_feature_vectors:
        return static_features_of_vectors(images, make_network)

    @cache
    def network():
        made = make_network().to(images.device)
        made.backbone.load_state_dict(pretrained_weights)
        return made.eval()

    def number(features_of: Callable) -> torch.Tensor:
        return neighbor_agreement(features_of, images, seed)

    seen = make_pixel_extractor(images)
    found = {
        "pixels": lambda: extract_in_batches(images, seen),
        "pixels_agreement": lambda: number(seen),
    }
    if pretrained_weights:
        found |= {
            "pretrained_features": lambda: extract_outputs(network(), images, amp=amp)[0],
            "pretrained_features_agreement": lambda: number(lambda batch: network()(batch)[1]),
        }
    return {name: cache(function) for name, function in found.items()}


def make_pixel_extractor(images) -> Callable:
    """What the pixels of images are as vectors, a batch (B, C, H, W) -> (B, d): each pixel, or
    where those of all images would take more than PIXELS, means of 2 x 2, of 4 x 4, and so on."""
    _, channels, height, width = images.plain_batch(slice(0, 1)).shape
    side, most = 1, MAX_PIXEL_BYTES // 4 / (len(images) * channels)
    while -(-height // side) * -(-width // side) > most and side < max(height, width):
        side *= 2
    if side == 1:
        return lambda batch: batch.flatten(1)
    mean = torch.nn.AvgPool2d(side, ceil_mode=True)
    return lambda batch: mean(batch).flatten(1)


def extract_in_batches(images, extractor: Callable) -> torch.Tensor:
    """`seen` of all images, un-augmented, a batch at a time: (N, d)."""
    found = extractor(images.plain_batch(slice(0, 1)))
    found, end = found.new_empty(len(images), found.shape[1]), 0
    for batch in plain_batches(images):
        found[end : end + len(batch)] = extractor(batch)
        end += len(batch)
    return found


def static_features_of_vectors(images, make_network: Callable) -> dict:
    """As `lasting`, of features: they stand for those of pre-training; and where the backbone has
    nothing to learn they are the network's, in all epochs the same tensor, of which one graph is
    made."""
    network = make_network().eval()
    found = {"pretrained_features": lambda: images.plain_batch(slice(None))}
    if not list(network.backbone.parameters()):
        normalize = torch.nn.functional.normalize if network.unit_length else torch.as_tensor
        found["features"] = lambda: normalize(found["pretrained_features"]())
    found["pretrained_features"] = cache(found["pretrained_features"])
    return {name: cache(function) for name, function in found.items()}
