"""What is the same in every cycle of a run: the images' pixels, and what a network that has seen no
label yet says of them."""

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
