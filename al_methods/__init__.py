"""Acquisition: which images to label next.  One method per file, one entry each in METHODS."""

import inspect
from dataclasses import dataclass
from typing import Any

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
from utils.arrays import as_numpy, as_read_only
from utils.graph.graph_options import ALL_GRAPH_NEEDS
from utils.options.converters import one_of
from utils.options.option import (
    OptionGroup,
    OptionValues,
    group_parameters,
    option,
    options_of,
    resolve_needs,
)
from utils.options.schema import Registry

Array = np.ndarray | torch.Tensor

METHODS = {
    "random": Method(random_sampling.pick, needs_no_labels=True),
    "uncertainty_entropy": Method(entropy.pick, needs=("probs",)),
    "least_confidence": Method(least_confidence.pick, needs=("probs",)),
    "margin": Method(margin.pick, needs=("probs",)),
    "bald": Method(bald.pick, needs=("stochastic_probs",)),
    "badge": Method(badge.pick, needs=("probs", "features")),
    "dropquery": Method(dropquery.pick, needs=("dropped_classes", "features", "probs")),
    "coreset": Method(coreset.pick, needs=("features",)),
    "jlp": Method(jlp.pick, needs=("features",)),
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
    *(name for name, method in METHODS.items() if method.needs_no_labels),
    INITIAL_GIVEN,
)


@dataclass(frozen=True)
class MethodOptions(OptionGroup):
    """Which images are queried, at the start and later."""

    section = "active learning"
    al_method: str = option(
        "random", "Acquisition method: which images to label next.", type=one_of(METHODS)
    )
    initial: str = option(
        INITIAL_BALANCED,
        "How the first labels are chosen. balanced: the same number per class, saved as a split "
        "file. given: use all labels already in the data; a person labels the rest. Otherwise a "
        "method that needs no labels.",
        type=one_of(INITIAL_CHOICES),
    )


def initial_method_name(options: OptionValues) -> str | None:
    """The method that chooses the first labels; None where a split or the data provide them."""
    return None if options.initial in (INITIAL_BALANCED, INITIAL_GIVEN) else options.initial


REGISTRY = Registry(
    METHODS, lambda options: options.al_method, "--al-method {}", after_first_cycle=True
)
INITIAL_REGISTRY = Registry(
    {name: method for name, method in METHODS.items() if method.needs_no_labels},
    initial_method_name,
    "--initial {}",
)


def select(
    method: str,
    *,
    features: Array | None = None,
    probs: Array | None = None,
    labels: Array,
    budget: int,
    rng: np.random.Generator,
    num_classes: int | None = None,
    **inputs_and_options: Any,
) -> np.ndarray:
    """Choose the next images to label.

    method: a key of METHODS.
    features: (N, d), probs: (N, C) softmax, both over the whole training set.
    labels: (N,) int64, -1 where unknown.
    budget: number of images to choose.
    rng: the source of all random choices.
    num_classes: number of classes, for methods that use it.
    inputs_and_options: the other inputs of the method, with N rows each, and its options by name,
    as lp_k=10 or k=10.
    -> (budget,) int64, distinct indices of unlabeled images, in order of choice.

    Inputs that the method does not need are ignored.  If the method prefers pretrained_features
    and they are given, they replace features, unless it needs both.  Raises ValueError for an
    unknown method, a missing or non-finite input, an option that the method does not read, and a
    budget outside 1 .. number of unlabeled images."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: one of {', '.join(METHODS)}")
    entry = METHODS[method]
    labels = as_read_only(as_numpy(labels, np.int64))
    unlabeled = int((labels < 0).sum())
    if not 1 <= budget <= unlabeled:
        raise ValueError(f"budget must be between 1 and {unlabeled} unlabeled images, not {budget}")
    input_names = method_input_names()
    options = {name: v for name, v in inputs_and_options.items() if name not in input_names}
    groups = _make_groups(method, options)
    arrays = {"features": features, "probs": probs, **inputs_and_options}
    needs = resolve_needs(entry.needs, groups)
    for name, other in entry.substitutes_for(needs).items():
        if arrays.get(other) is not None:
            arrays[name] = arrays[other]
    inputs: dict[str, Any] = {
        name: _validate_input(method, name, arrays.get(name), len(labels)) for name in needs
    }
    parameters = inspect.signature(entry.pick).parameters
    if "num_classes" in parameters:
        inputs["num_classes"] = num_classes
    inputs |= {name: group for name, group in groups.items() if name in parameters}
    return entry.pick(labels=labels, budget=int(budget), rng=rng, **inputs)


def _make_groups(method: str, values: dict[str, Any]) -> dict[str, OptionGroup]:
    """The option groups that a method takes, with these values, by the parameter's name.

    values: options by name, with or without the prefix lp_.  Raises ValueError for an option that
    the method does not read."""
    functions = METHODS[method].functions()
    classes = {name: group for f in functions for name, group in group_parameters(f).items()}
    names = {one.name for group in classes.values() for one in options_of(group)}
    values = {name if name in names else f"lp_{name}": value for name, value in values.items()}
    if unread := set(values) - names:
        raise ValueError(f"{method} does not read {', '.join(sorted(unread))}")
    return {
        name: group(
            **{one.name: values[one.name] for one in options_of(group) if one.name in values}
        )
        for name, group in classes.items()
    }


def method_input_names() -> set[str]:
    """All inputs that any method may need or prefer."""
    needs = [entry.needs for entry in METHODS.values() if not callable(entry.needs)]
    preferred = [entry.substitutes.values() for entry in METHODS.values()]
    return {*ALL_GRAPH_NEEDS, *(name for names in (*needs, *preferred) for name in names)}


def _validate_input(method: str, name: str, array: Array | None, count: int) -> torch.Tensor:
    """The input as float32 on its device.  Raises ValueError where it is missing, not finite or of
    another number of rows than `count`."""
    if array is None:
        raise ValueError(f"{method} needs {name}")
    tensor = torch.as_tensor(array, dtype=torch.float32)
    # Minimum and maximum are not finite if any value is not, and need a single pass.
    if (tensor.ndim and len(tensor) != count) or not torch.stack(tensor.aminmax()).isfinite().all():
        raise ValueError(f"{name} must be finite, with one row per label ({count})")
    return tensor
