"""A hidden layer over features that are given."""

from torch import nn

HIDDEN = 256


def mlp(in_channels: int) -> nn.Module:
    """(B, in_channels) -> (B, HIDDEN)."""
    return nn.Sequential(
        nn.Linear(in_channels, HIDDEN, bias=False),
        nn.BatchNorm1d(HIDDEN),
        nn.LeakyReLU(0.1, inplace=True),
    )
