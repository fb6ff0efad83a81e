"""A hidden layer over features that are given."""

from torch import nn

from models.layers.norm import BatchNorm1d

HIDDEN_UNITS = 256


def mlp(in_channels: int) -> nn.Module:
    """(B, in_channels) -> (B, HIDDEN)."""
    return nn.Sequential(
        nn.Linear(in_channels, HIDDEN_UNITS, bias=False),
        BatchNorm1d(HIDDEN_UNITS),
        nn.LeakyReLU(0.1, inplace=True),
    )
