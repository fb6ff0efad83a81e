"""What all networks have in common: features, their normalisation, and a linear head."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

HeadFactory = Callable[[int, int], nn.Module]  # number of features, number of classes -> head


def has_tensor_cores(device: torch.device) -> bool:
    """Whether the device is a GPU whose matrix units compute float32 convolutions, as from NVIDIA's
    Ampere generation on.  Their kernels want channels last; those of older GPUs do not."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def linear_head(features: int, classes: int) -> nn.Module:
    """A plain linear head."""
    return nn.Linear(features, classes)


def weight_norm_head(features: int, classes: int) -> nn.Module:
    """A linear head that learns direction and length separately (Salimans & Kingma, NIPS 2016)."""
    return weight_norm(nn.Linear(features, classes))


class Network(nn.Module):
    """backbone -> features (B, d), of unit length on request -> head -> logits (B, C).

    head_dropout: the share of the features that the head does not see during training.
    channels_last: the memory layout of images and weights, where the device is fast with it."""

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        make_head: HeadFactory,
        num_classes: int,
        unit_length: bool = True,
        channels_last: bool = False,
        head_dropout: float = 0.0,
    ):
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone, self.feature_dim = backbone, feature_dim
        self.make_head, self.unit_length = make_head, unit_length
        self.head = make_head(feature_dim, num_classes)
        self.dropout = nn.Dropout(head_dropout) if head_dropout else nn.Identity()
        self.to(memory_format=self.memory_format)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Network":
        """Every move to a device or type passes here; the layout becomes that of the device."""

        def apply_and_set_layout(tensor: torch.Tensor) -> torch.Tensor:
            tensor = fn(tensor)
            if tensor.ndim != 4:
                return tensor
            return tensor.to(memory_format=self._memory_format_for(tensor))

        return super()._apply(apply_and_set_layout, recurse)

    def _memory_format_for(self, tensor: torch.Tensor) -> torch.memory_format:
        fast = tensor.is_cpu or has_tensor_cores(tensor.device)
        return self.memory_format if fast else torch.contiguous_format

    def replace_head(self, num_classes: int) -> None:
        """A new head with random weights, on the device of the old one."""
        device = next(self.head.parameters()).device
        self.head = self.make_head(self.feature_dim, num_classes).to(device)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.backbone(images.contiguous(memory_format=self._memory_format_for(images)))
        if self.unit_length:
            features = F.normalize(features)
        return self.head(self.dropout(features)), features
