"""One hidden layer on feature vectors."""

from torch import nn

from models.layers.norm import BatchNorm1d

HIDDEN_UNITS = 256


def mlp(in_channels: int) -> nn.Module:
    """(B, in_channels) -> (B, HIDDEN_UNITS)."""
    return nn.Sequential(
        nn.Linear(in_channels, HIDDEN_UNITS, bias=False),
        BatchNorm1d(HIDDEN_UNITS),
        nn.LeakyReLU(0.1, inplace=True),
    )
