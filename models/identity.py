"""No network: features that are given, below a linear head."""

from torch import nn


def identity_backbone(in_channels: int) -> nn.Module:
    """(B, in_channels) -> the same."""
    return nn.Identity()
