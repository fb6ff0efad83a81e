"""What an entry of the pre-training registry contains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from utils.options.option import Component


@dataclass(frozen=True)
class Pretrainer(Component):
    """A pre-training method, an entry of PRETRAINERS.

    pretrain: model, images (data.augment.ImageStore), num_classes, seed, resume, after_epoch, amp
    and the method's option groups -> one row per epoch, with these columns.  It trains
    `model.backbone` in place.  After each epoch it calls `after_epoch` with the number of finished
    epochs and a state with which `resume` can continue.
    columns: of pretraining.csv."""

    pretrain: Callable[..., list[dict[str, Any]]]
    columns: tuple[str, ...]
