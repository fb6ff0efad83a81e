"""What a network says of images: features, probabilities, accuracy."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

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


@torch.inference_mode()
def extract_outputs(
    network, images, *, batch_size: int = 512, amp: bool = False, location: str = "evaluation",
    advice: str = DIVERGENCE_ADVICE,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Features and class probabilities of all images, un-augmented, in evaluation mode.

    images: ImageBatches of N -> (N, d) float32, (N, C) float32, on the images' device.  Raises
    NotFinite, which says `where`, which images and `advice`, where they are not finite."""
    network.eval()
    features, probabilities = [], []
    for batch in plain_batches(images, batch_size):
        with maybe_autocast(batch, amp):
            logits, vectors = network(batch)
        features.append(vectors.float())
        probabilities.append(logits.float().softmax(dim=1))
    features, probabilities = torch.cat(features), torch.cat(probabilities)
    require_finite_outputs((features, probabilities), images, location, advice)
    return features, probabilities


def plain_batches(images, batch_size: int = 512) -> Iterator[torch.Tensor]:
    """All images, un-augmented, in order."""
    for start in range(0, len(images), batch_size):
        yield images.plain_batch(slice(start, start + batch_size))


def evaluate_accuracy(network, images, labels: np.ndarray, **how) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in percent (top-C where there are fewer classes).

    images: ImageBatches of N; labels: (N,) int64; how: of `extract`, and what it raises."""
    _, probabilities = extract_outputs(network, images, **how)
    wanted = torch.as_tensor(labels, device=probabilities.device)[:, None]
    ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == wanted
    count = len(labels)
    return 100 * int(ranked[:, :1].sum()) / count, 100 * int(ranked.sum()) / count


def _forward_pass(network, images, amp: bool) -> dict:
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
def _stochastic_probs(network, images, amp: bool, *, dropout: DropoutPassOptions) -> dict:
    """Class probabilities (N, passes, C) float32 of passes that differ in what dropout leaves out.

    Everything is as in training, but normalisation is that of evaluation: an image's probabilities
    do not depend on its batch, and no statistics move."""
    network.train()
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.eval()
    found = []
    for batch in plain_batches(images):
        with maybe_autocast(batch, amp):
            logits = torch.stack([network(batch)[0] for _ in range(dropout.mc_passes)], dim=1)
        found.append(logits.float().softmax(dim=2))
    network.eval()
    probs = torch.cat(found)
    require_finite_outputs((probs,), images, "passes with dropout", DIVERGENCE_ADVICE)
    return {"stochastic_probs": probs}


KEEP_PROBABILITY, DROPQUERY_PASSES = 1 / 4, 3  # 1 - ρ and M of DropQuery (Gupte et al., TMLR 2024)


def predict_dropout_classes(features: torch.Tensor, head, amp: bool = False) -> torch.Tensor:
    """Classes (N, passes) int64 that the head predicts of features (N, d) that dropout has thinned.

    Rows come by so few that they stay in the cache."""
    found = []
    for rows in features.split(1024):
        kept = _random_quarter_mask(DROPQUERY_PASSES * rows.numel(), rows.device)
        thinned = (
            kept.view(DROPQUERY_PASSES, *rows.shape).to(rows.dtype).mul_(rows / KEEP_PROBABILITY)
        )
        with maybe_autocast(features, amp):
            logits = head(thinned.flatten(0, 1))
        found.append(logits.view(DROPQUERY_PASSES, len(rows), -1))
    return torch.cat(found, dim=1).argmax(dim=2).T


def _random_quarter_mask(count: int, device) -> torch.Tensor:
    """(count,) uint8, each 1 with a probability of 1/4: two random bits, both of them set.

    The library's dropout draws a whole number for each; here 64 share two.  A word shifted by each
    of 0 to 7, of whose bytes the last bit is kept, is eight words of these."""
    words = torch.empty((2, -(-count // 64)), dtype=torch.int64, device=device)
    one, other = words.random_(-(2**63), None)
    shifted = (one & other) >> torch.arange(8, device=device)[:, None]  # (8, count / 64)
    return (shifted & 0x0101010101010101).view(torch.uint8).flatten()[:count]


@torch.inference_mode()
def _dropout_classes(network, images, amp: bool) -> dict:
    """`dropped_classes` of the network's features, and what the pass that gives these gives
    besides."""
    found = _forward_pass(network, images, amp)
    head = (network.module if isinstance(network, AveragedModel) else network).head
    return found | {"dropped_classes": predict_dropout_classes(found["features"], head, amp)}


def _features_agreement(network, images, amp: bool) -> dict:
    """How far images and their strong views agree on who is near whom: a number."""
    network.eval()
    found = neighbor_agreement(lambda batch: network(batch)[1], images, seed=0)
    return {"features_agreement": found}


# What a method or an algorithm may need, and how it is computed: network, images, amp and, as
# keyword arguments, options of who needs it -> names and tensors of N rows, on the images' device.
# What one computation gives besides is kept too.
OUTPUT_FUNCTIONS = {
    "features": _forward_pass,
    "probs": _forward_pass,
    "stochastic_probs": _stochastic_probs,
    "dropped_classes": _dropout_classes,
    "features_agreement": _features_agreement,
}
DROPOUT_OUTPUTS = {"stochastic_probs"}  # the same passes again where the network has no dropout


def option_groups_of(names: Iterable[str]) -> list[type[OptionGroup]]:
    """The groups of options that the computation of these outputs takes."""
    functions = [OUTPUT_FUNCTIONS[name] for name in names if name in OUTPUT_FUNCTIONS]
    return [group for function in functions for group in group_parameters(function).values()]


MIN_LOG_SECONDS = 0.1  # seconds: what takes less, in every epoch perhaps, would fill the log


class NetworkOutputs:
    """What a network, as it is now, says of all images: each name is computed when it is first
    asked for and only once, with a seed of its own.

    options: the run's; each computation is given the groups that it takes.
    static_features: name -> function without arguments, for what is the same in every cycle."""

    def __init__(
        self, network, images, *, seed: int, cycle: int = 0, amp: bool = False,
        options: OptionValues | None = None,
        static_features: dict[str, Callable] | None = None,
    ):  # fmt: skip
        self.network, self.images, self.amp = network, images, amp
        self.seed, self.cycle, self.tensors = seed, cycle, {}
        self.options, self.static_features = options, static_features or {}

    def get_tensors(self, names: Iterable[str], substitutes: dict[str, str] | None = None) -> dict:
        """The tensors of these names; KeyError for one that nobody computes.

        rather: for a name, another whose tensor is given under it where the run has that."""
        substitutes = {
            n: other for n, other in (substitutes or {}).items() if other in self.static_features
        }
        wanted = {name: substitutes.get(name, name) for name in names}
        for name in wanted.values():
            if name not in self.tensors:
                self._compute_output(name)
        return {name: self.tensors[other] for name, other in wanted.items()}

    def _compute_output(self, name: str) -> None:
        begin = time.perf_counter()
        torch.manual_seed(derive_seed(self.seed, f"outputs: {name}", self.cycle))
        lasting = self.static_features.get(name)
        try:
            found = {name: lasting()} if lasting else self._run_network(name)
        except NotFinite as error:
            raise NotFinite(f"cycle {self.cycle + 1}, {error}") from None
        self.tensors = {**found, **self.tensors}
        if (seconds := time.perf_counter() - begin) > MIN_LOG_SECONDS:
            log.debug("%s of %d images: %.3f s", ", ".join(found), len(self.images), seconds)

    def _run_network(self, name: str) -> dict[str, torch.Tensor]:
        compute = OUTPUT_FUNCTIONS[name]
        own = {} if self.options is None else kwargs_for(self.options, compute)
        return compute(self.network, self.images, self.amp, **own)
