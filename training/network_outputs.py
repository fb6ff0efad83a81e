"""What a network computes for images: features, class probabilities, accuracy."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel

from training.epoch import maybe_autocast
from training.finite import DIVERGENCE_ADVICE, NotFinite, require_finite_outputs
from utils.console import log
from utils.graph.neighbor_stability import neighbor_agreement
from utils.options.converters import positive_integer
from utils.options.option import OptionGroup, OptionValues, group_parameters, kwargs_for, option
from utils.seeding import derive_seed

Tensors = dict[str, torch.Tensor]


class PlainImages(Protocol):
    """What is read here of data.augment.ImageStore and data.feature_vectors.FeatureStore."""

    subset_indices: np.ndarray | None  # (N,) indices in the data set; None for 0 .. N - 1

    def __len__(self) -> int: ...

    def plain_batch(self, indices: np.ndarray | slice) -> torch.Tensor: ...


@torch.inference_mode()
def extract_outputs(
    network: torch.nn.Module,
    images: PlainImages,
    *,
    batch_size: int = 512,
    amp: bool = False,
    location: str = "evaluation",
    advice: str = DIVERGENCE_ADVICE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and class probabilities of N images, without augmentation, in evaluation mode:
    (N, d) and (N, C), float32, on the device of the images.

    Raises NotFinite, with `location`, the images and `advice`, where they are not finite."""
    network.eval()
    features, probabilities = [], []
    for batch in plain_batches(images, batch_size):
        with maybe_autocast(batch, amp):
            logits, vectors = network(batch)
        features.append(vectors.float())
        probabilities.append(logits.float().softmax(dim=1))
    outputs = torch.cat(features), torch.cat(probabilities)
    require_finite_outputs(outputs, dataset_indices(images), location, advice)
    return outputs


def dataset_indices(images: PlainImages) -> np.ndarray | None:
    """(N,) indices in the data set as the user knows them: rows of the user's file where the store
    has these; None for 0 .. N - 1."""
    rows, subset = getattr(images, "row_numbers", None), images.subset_indices
    return subset if rows is None else rows if subset is None else rows[subset]


def plain_batches(images: PlainImages, batch_size: int = 512) -> Iterator[torch.Tensor]:
    """All images in order, without augmentation."""
    for start in range(0, len(images), batch_size):
        yield images.plain_batch(slice(start, start + batch_size))


def evaluate_accuracy(
    network: torch.nn.Module, images: PlainImages, labels: np.ndarray, **settings: Any
) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in percent (top-C where there are fewer than five classes).

    labels: (N,) int64, of the N images; settings: of extract_outputs, which may raise NotFinite."""
    _, probabilities = extract_outputs(network, images, **settings)
    truth = torch.as_tensor(labels, device=probabilities.device)[:, None]
    ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == truth
    count = len(labels)
    return 100 * int(ranked[:, :1].sum()) / count, 100 * int(ranked.sum()) / count


def _forward_pass(network: torch.nn.Module, images: PlainImages, amp: bool) -> Tensors:
    features, probs = extract_outputs(network, images, amp=amp)
    return {"features": features, "probs": probs}


@dataclass(frozen=True)
class DropoutPassOptions(OptionGroup):
    """How often the network is evaluated with dropout."""

    section = "active learning"
    mc_passes: int = option(
        10, "Number of forward passes with dropout, for BALD.", type=positive_integer
    )


@torch.inference_mode()
def _stochastic_probs(
    network: torch.nn.Module, images: PlainImages, amp: bool, *, dropout: DropoutPassOptions
) -> Tensors:
    """Class probabilities (N, passes, C) float32 of passes that differ in what dropout removes.

    Everything is as in training, except that normalisation works as in evaluation: the
    probabilities of an image do not depend on its batch, and no statistics change."""
    network.train()
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.eval()
    parts = []
    for batch in plain_batches(images):
        with maybe_autocast(batch, amp):
            logits = torch.stack([network(batch)[0] for _ in range(dropout.mc_passes)], dim=1)
        parts.append(logits.float().softmax(dim=2))
    network.eval()
    probs = torch.cat(parts)
    location = "passes with dropout"
    require_finite_outputs((probs,), dataset_indices(images), location, DIVERGENCE_ADVICE)
    return {"stochastic_probs": probs}


KEEP_PROBABILITY = 1 / 4  # 1 - ρ of DropQuery (Gupte et al., TMLR 2024)
DROPQUERY_PASSES = 3  # M of DropQuery
ROWS_PER_CHUNK = 1024  # images whose thinned features stay in the cache


def predict_dropout_classes(
    features: torch.Tensor, head: Callable[[torch.Tensor], torch.Tensor], amp: bool = False
) -> torch.Tensor:
    """Classes (N, DROPQUERY_PASSES) int64 that the head predicts from features (N, d) after
    dropout."""
    parts = []
    for rows in features.split(ROWS_PER_CHUNK):
        mask = _random_quarter_mask(DROPQUERY_PASSES * rows.numel(), rows.device)
        mask = mask.view(DROPQUERY_PASSES, *rows.shape).to(rows.dtype)
        thinned = mask.mul_(rows / KEEP_PROBABILITY)
        with maybe_autocast(features, amp):
            logits = head(thinned.flatten(0, 1))
        parts.append(logits.view(DROPQUERY_PASSES, len(rows), -1))
    return torch.cat(parts, dim=1).argmax(dim=2).T


def _random_quarter_mask(count: int, device: torch.device) -> torch.Tensor:
    """(count,) uint8, each 1 with probability 1/4: two random bits that are both set.

    The library's dropout draws one integer per value; here 64 values share two.  Shifting a word by
    0 to 7 and keeping the last bit of each byte yields eight words of eight values."""
    words = torch.empty((2, -(-count // 64)), dtype=torch.int64, device=device)
    first, second = words.random_(-(2**63), None)
    shifted = (first & second) >> torch.arange(8, device=device)[:, None]  # (8, count / 64)
    return (shifted & 0x0101010101010101).view(torch.uint8).flatten()[:count]


@torch.inference_mode()
def _dropout_classes(network: torch.nn.Module, images: PlainImages, amp: bool) -> Tensors:
    """The classes that the head predicts after dropout, with features and probabilities of the same
    pass."""
    outputs = _forward_pass(network, images, amp)
    head = (network.module if isinstance(network, AveragedModel) else network).head
    assert isinstance(head, torch.nn.Module)
    return outputs | {"dropped_classes": predict_dropout_classes(outputs["features"], head, amp)}


def _features_agreement(network: torch.nn.Module, images: Any, amp: bool) -> Tensors:
    """How well nearest neighbours survive strong augmentation: a number in [0, 1].

    images: data.augment.ImageStore."""
    network.eval()
    agreement = neighbor_agreement(lambda batch: network(batch)[1], images, seed=0)
    return {"features_agreement": agreement}


# The inputs that a method or an algorithm may need, and how each is computed: network, images, amp
# and, as keyword arguments, option groups -> tensors of N rows by name, on the device of the
# images.  Further tensors that a computation returns are kept too.
OUTPUT_FUNCTIONS: dict[str, Callable[..., Tensors]] = {
    "features": _forward_pass,
    "probs": _forward_pass,
    "stochastic_probs": _stochastic_probs,
    "dropped_classes": _dropout_classes,
    "features_agreement": _features_agreement,
}
DROPOUT_OUTPUTS = {"stochastic_probs"}  # without dropout in the network, all passes are equal


def option_groups_of(names: Iterable[str]) -> list[type[OptionGroup]]:
    """The option groups that the computation of these outputs takes."""
    functions = [OUTPUT_FUNCTIONS[name] for name in names if name in OUTPUT_FUNCTIONS]
    return [group for function in functions for group in group_parameters(function).values()]


MIN_LOG_SECONDS = 0.1  # shorter computations, perhaps in every epoch, are not logged


class NetworkOutputs:
    """The outputs of a network, as it is now, for all images.  Each is computed once, when it is
    first requested, with its own seed.

    options: the run's; each computation receives the groups that it takes.
    static_features: name -> function without arguments, for what is the same in every cycle."""

    def __init__(
        self,
        network: torch.nn.Module,
        images: PlainImages,
        *,
        seed: int,
        cycle: int = 0,
        amp: bool = False,
        options: OptionValues | None = None,
        static_features: dict[str, Callable[[], torch.Tensor]] | None = None,
    ):
        self.network, self.images, self.amp = network, images, amp
        self.seed, self.cycle = seed, cycle
        self.options, self.static_features = options, static_features or {}
        self.tensors: Tensors = {}

    def get_tensors(
        self, names: Iterable[str], substitutes: dict[str, str] | None = None
    ) -> Tensors:
        """The tensors with these names.  Raises KeyError for a name that cannot be computed.

        substitutes: name -> static feature that replaces it where the run has that feature."""
        available = {
            name: other
            for name, other in (substitutes or {}).items()
            if other in self.static_features
        }
        sources = {name: available.get(name, name) for name in names}
        for source in sources.values():
            if source not in self.tensors:
                self._compute_output(source)
        return {name: self.tensors[source] for name, source in sources.items()}

    def _compute_output(self, name: str) -> None:
        start = time.perf_counter()
        torch.manual_seed(derive_seed(self.seed, f"outputs: {name}", self.cycle))
        static = self.static_features.get(name)
        try:
            outputs = {name: static()} if static else self._run_network(name)
            # The same tensor each time, so that one graph serves all of its users.
            outputs = {
                n: x for n, x in outputs.items() if n == name or n not in self.static_features
            }
        except NotFinite as error:
            raise NotFinite(f"cycle {self.cycle + 1}, {error}") from None
        self.tensors = {**outputs, **self.tensors}
        if (seconds := time.perf_counter() - start) > MIN_LOG_SECONDS:
            log.debug("%s of %d images: %.3f s", ", ".join(outputs), len(self.images), seconds)

    def _run_network(self, name: str) -> Tensors:
        compute = OUTPUT_FUNCTIONS[name]
        groups = {} if self.options is None else kwargs_for(self.options, compute)
        return compute(self.network, self.images, self.amp, **groups)
