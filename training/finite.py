"""Values that are not finite are detected before anything is computed from them."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.errors import UserError

DIVERGENCE_ADVICE = "use a smaller --lr, or --lr-rampup"
MAX_LISTED_IMAGES = 5  # images that a message lists


class NotFinite(UserError):
    """The training has diverged; the message says where, and which option to lower."""


def require_finite_epoch(
    totals: torch.Tensor, network: torch.nn.Module, location: str, advice: str
) -> None:
    """Raises NotFinite for the first step whose loss is not finite, or where the weights or running
    statistics are not finite after the last step.

    totals: (steps,), the sum of the losses after each step, on the device of the network.  Testing
    them here, and not at every step, makes the CPU wait for the device once per epoch."""
    bad = ~totals.isfinite()
    if bad.any():
        step = int(bad.int().argmax()) + 1
        raise NotFinite(f"{location}, step {step}: the loss is not finite: {advice}")
    tensors = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    if tensors and not torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all():
        raise NotFinite(
            f"{location}, step {len(totals)}: after it the weights or their running statistics are "
            f"not finite: {advice}"
        )


def require_finite_outputs(
    outputs: Sequence[torch.Tensor],
    dataset_indices: np.ndarray | None,
    location: str,
    advice: str,
) -> None:
    """Raises NotFinite where an output of an image is not finite.

    outputs: tensors (N, ...); dataset_indices: (N,), the images' indices in the data set, for the
    message; None where these are 0 .. N - 1."""
    finite = torch.stack([rows.flatten(1).isfinite().all(dim=1) for rows in outputs]).all(dim=0)
    if finite.all():
        return
    bad = (~finite).nonzero().flatten().cpu().numpy()
    indices = bad if dataset_indices is None else dataset_indices[bad]
    names = ", ".join(map(str, indices[:MAX_LISTED_IMAGES].tolist()))
    if len(bad) > MAX_LISTED_IMAGES:
        names += ", ..."
    raise NotFinite(
        f"{location}: the network's outputs for {len(bad)} of {len(finite)} images are not finite "
        f"(index {names}): {advice}"
    )
