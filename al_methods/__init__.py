"""Acquisition: which images to label next.  One method a file, one row each in METHODS."""

import inspect

import numpy as np
import torch

from al_methods import (
    badge,
    bald,
    coreset,
    dropquery,
    entropy,
    jlp,
    least_confidence,
    lp_coverage,
    margin,
    maxherding,
    probcover,
    random_sampling,
    typiclust,
    uherding,
)
from al_methods.spec import Method
from training.network_outputs import MC_PASSES
from utils.arrays import as_numpy, as_read_only
from utils.graph.graph_options import ALL_GRAPH_NEEDS, GRAPH, check_knn_device
from utils.options.converters import one_of
from utils.options.option import Choice, Option, Part, asked

METHODS = {
    "random": Method(random_sampling.pick, needs_no_labels=True),
    "uncertainty_entropy": Method(entropy.pick, needs=("probs",)),
    "least_confidence": Method(least_confidence.pick, needs=("probs",)),
    "margin": Method(margin.pick, needs=("probs",)),
    "bald": Method(bald.pick, needs=("stochastic_probs",), options=(MC_PASSES,)),
    "badge": Method(badge.pick, needs=("probs", "features")),
    "dropquery": Method(dropquery.pick, needs=("dropped_classes", "features", "probs")),
    "coreset": Method(coreset.pick, needs=("features",)),
    "jlp": Method(jlp.pick, needs=("features",), options=GRAPH, fits=check_knn_device),
    "lp_coverage": lp_coverage.METHOD,
    "typiclust": typiclust.METHOD,
    "probcover": probcover.METHOD,
    "maxherding": maxherding.METHOD,
    "uherding": uherding.METHOD,
}


INITIAL_BALANCED = "balanced"
INITIAL_GIVEN = "given"
INITIAL_CHOICES = (
    INITIAL_BALANCED,
    *(name for name, row in METHODS.items() if row.needs_no_labels),
    INITIAL_GIVEN,
)


AL_METHOD = Part(
    "active learning",
    options=(
        Option("al_method", "random", "acquisition method", kind=one_of(METHODS)),
        Option(
            "initial",
            INITIAL_BALANCED,
            "the first labels: as many of each class, drawn and kept in a split's file; given: all "
            "that the data have, where a person gives the others; or chosen by a method that needs "
            "none",
            kind=one_of(INITIAL_CHOICES),
            added=True,
        ),
    ),
)
CHOICE = Choice(
    "active learning", METHODS, lambda args: args.al_method, "--al-method {}", later=True
)


def initial_method_name(args) -> str | None:
    """The method that chooses the first labels; None where they are a split's, or given."""
    return None if args.initial in (INITIAL_BALANCED, INITIAL_GIVEN) else args.initial


FIRST_CHOICE = Choice(
    "active learning",
    {name: row for name, row in METHODS.items() if row.needs_no_labels},
    initial_method_name,
    "--initial {}",
)


def select(
    method, *, features=None, probs=None, labels, budget, rng, num_classes=None, **more
) -> np.ndarray:
    """The `budget` images to label next, distinct and unlabeled, in order of choice.

    features: (N, d) and probs: (N, C) over the whole training set, only where the method needs
    them; labels: (N,) int64, -1 where unknown; rng: numpy Generator; more: what else the method
    needs, N rows each, and its options; num_classes: for methods that take it -> (budget,) int64
    indices into the training set.  What only other methods need is not looked at;
    `pretrained_features` stand in for `features` where the method had rather have them, and does
    not ask for both.  Raises ValueError for an unknown method, a missing or non-finite input, an
    option that the method does not read, and a budget outside 1 .. number of unlabeled images."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: one of {', '.join(METHODS)}")
    row = METHODS[method]
    labels = as_read_only(as_numpy(labels, np.int64))
    unlabeled = int((labels < 0).sum())
    if not 1 <= budget <= unlabeled:
        raise ValueError(f"budget must be between 1 and {unlabeled} unlabeled images, not {budget}")
    given = {"features": features, "probs": probs, **more}
    needs = asked(row.needs, more)
    stand_ins = {name: given.get(other) for name, other in row.substitutes_for(needs).items()}
    given |= {name: array for name, array in stand_ins.items() if array is not None}
    inputs = {name: _validate_input(method, name, given.get(name), len(labels)) for name in needs}
    options = {name: value for name, value in more.items() if name not in method_input_names()}
    if "num_classes" in inspect.signature(row.pick).parameters:
        inputs["num_classes"] = num_classes
    unread = set(options) - {option.keyword for option in row.options}
    if unread:
        raise ValueError(f"{method} does not read {', '.join(sorted(unread))}")
    return row.pick(labels=labels, budget=int(budget), rng=rng, **inputs, **options)


def method_input_names() -> set[str]:
    """All that any method may need of the network."""
    fixed = [row.needs for row in METHODS.values() if not callable(row.needs)]
    better = [row.substitutes.values() for row in METHODS.values()]
    return {*ALL_GRAPH_NEEDS, *(name for names in (*fixed, *better) for name in names)}


def _validate_input(method: str, name: str, array, count: int) -> torch.Tensor:
    """What a method needs, as float32 on its device."""
    if array is None:
        raise ValueError(f"{method} needs {name}")
    tensor = torch.as_tensor(array, dtype=torch.float32)
    # The least and the largest are not finite where any is not, and cost a single pass.
    if (tensor.ndim and len(tensor) != count) or not torch.stack(tensor.aminmax()).isfinite().all():
        raise ValueError(f"{name} must be finite, one row for each of {count} labels")
    return tensor
