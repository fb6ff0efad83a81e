"""Numbers that are not finite any more are found before anything is made of them."""

import torch

from utils.errors import UserError

DIVERGENCE_ADVICE = "use a smaller --lr, or --lr-rampup"
MAX_LISTED_IMAGES = 5  # images that a message names


class NotFinite(UserError):
    """The training has diverged; the message says where, and which option to lower."""


def require_finite_epoch(totals: torch.Tensor, network, location: str, advice: str) -> None:
    """Raises NotFinite for the first step whose loss is not finite, or where the last one has left
    weights or running statistics that are not.

    totals: (steps,), the sum of the losses after each step, on the device of the network, which is
    waited for here and at no step."""
    bad = ~totals.isfinite()
    if bad.any():
        step = int(bad.int().argmax()) + 1
        raise NotFinite(f"{location}, step {step}: the loss is not finite any more: {advice}")
    tensors = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    if tensors and not torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all():
        raise NotFinite(
            f"{location}, step {len(totals)}: the weights or their running statistics are not finite "
            f"any more after it: {advice}"
        )


def require_finite_outputs(outputs, images, location: str, advice: str) -> None:
    """Raises NotFinite where an image has an output that is not finite.

    outputs: tensors (N, ...); images: ImageBatches of N, named by their index in the data set."""
    finite = torch.stack([rows.flatten(1).isfinite().all(dim=1) for rows in outputs]).all(dim=0)
    if finite.all():
        return
    bad = (~finite).nonzero().flatten().cpu().numpy()
    names = bad if images.subset_indices is None else images.subset_indices[bad]
    shown = ", ".join(map(str, names[:MAX_LISTED_IMAGES].tolist())) + (
        ", ..." if len(bad) > MAX_LISTED_IMAGES else ""
    )
    raise NotFinite(
        f"{location}: the network's outputs for {len(bad)} of {len(finite)} images are not finite "
        f"(index {shown}): {advice}"
    )
