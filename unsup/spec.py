"""What a row of the pre-training registry holds."""

from collections.abc import Callable
from dataclasses import dataclass

from utils.options.option import Component


@dataclass(frozen=True)
class Pretrainer(Component):
    """A row of PRETRAINERS.

    pretrain: model, images (data.augment.ImageBatches), num_classes, seed, resume, after_epoch,
    amp and the row's options -> a row an epoch, with these columns; it trains `model`'s backbone in
    place.  `after_epoch` takes the number of epochs done and a state that `resume` may be."""

    pretrain: Callable[..., list[dict]]
    columns: tuple[str, ...]
