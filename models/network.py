"""What all networks share: a linear head, features, their length, one kind of answer."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def linear_head(features: int, classes: int) -> nn.Linear:
    """A plain linear head."""
    return nn.Linear(features, classes)


def weight_norm_head(features: int, classes: int) -> nn.Linear:
    """A linear head with direction and length learned apart (Salimans & Kingma, NIPS 2016)."""
    return weight_norm(nn.Linear(features, classes))


class Network(nn.Module):
    """backbone -> features (B, d), unit length if asked -> head -> logits (B, C).

    `head_dropout` is the share of the features that the head does not see while training.

    `channels_last` says how images and weights lie in the CPU's memory, no more.  Elsewhere they
    lie as the library has them, from which its convolutions choose; never run on a GPU."""

    def __init__(
        self, backbone, feature_dim, make_head, num_classes, unit_length=True, channels_last=False,
        head_dropout=0.0,
    ):  # fmt: skip
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone, self.feature_dim = backbone, feature_dim
        self.make_head, self.unit_length = make_head, unit_length
        self.head = make_head(feature_dim, num_classes)
        self.dropout = nn.Dropout(head_dropout) if head_dropout else nn.Identity()
        self.to(memory_format=self.memory_format)

    def _apply(self, fn, recurse=True):
        """What every move to a device or type goes through: the layout becomes the device's."""

        def placed(tensor):
            tensor = fn(tensor)
            return (
                tensor.to(memory_format=self._memory_format_for(tensor))
                if tensor.ndim == 4
                else tensor
            )

        return super()._apply(placed, recurse)

    def _memory_format_for(self, tensor: torch.Tensor) -> torch.memory_format:
        return self.memory_format if tensor.is_cpu else torch.contiguous_format

    def replace_head(self, num_classes: int) -> None:
        """A fresh head, on the device of the old one."""
        device = next(self.head.parameters()).device
        self.head = self.make_head(self.feature_dim, num_classes).to(device)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.backbone(images.contiguous(memory_format=self._memory_format_for(images)))
        if self.unit_length:
            features = F.normalize(features)
        return self.head(self.dropout(features)), features
