"""What is the same in every cycle of a run: the images' pixels, what a network that has seen no
label yet says of them, and features that are given in their place."""

from collections.abc import Callable
from functools import cache

import torch

from data.problem import Problem
from utils.graph.agreement import agreement
from utils.training.outputs import extract


def lasting(problem: Problem, make: Callable, start: dict | None, seed: int, amp: bool) -> dict:
    """Name -> function without arguments, each computed once.  Beside features (N, d) stands how
    far two views agree on them, a number.

    make: -> a network; start: its backbone's weights after pre-training, None without."""
    images = problem.images
    if problem.vectors:
        return given(images, make)

    @cache
    def network():
        made = make().to(images.device)
        made.backbone.load_state_dict(start)
        return made.eval()

    def number(features_of: Callable) -> torch.Tensor:
        return agreement(features_of, images, seed)

    found = {
        "pixels": lambda: images.plain(slice(None)).flatten(1),
        "pixels_agreement": lambda: number(lambda batch: batch.flatten(1)),
    }
    if start:
        found |= {
            "pretrained_features": lambda: extract(network(), images, amp=amp)[0],
            "pretrained_features_agreement": lambda: number(lambda batch: network()(batch)[1]),
        }
    return {name: cache(function) for name, function in found.items()}


def given(images, make: Callable) -> dict:
    """As `lasting`, of features: they stand for those of pre-training; and where the backbone has
    nothing to learn they are the network's, in all epochs the same tensor, of which one graph is
    made."""
    network = make().eval()
    found = {"pretrained_features": lambda: images.plain(slice(None))}
    if not list(network.backbone.parameters()):
        normalize = torch.nn.functional.normalize if network.unit_length else torch.as_tensor
        found["features"] = lambda: normalize(found["pretrained_features"]())
    found["pretrained_features"] = cache(found["pretrained_features"])
    return {name: cache(function) for name, function in found.items()}
