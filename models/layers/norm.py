"""Batch normalisation that also accepts a batch of one image."""

import torch
import torch.nn.functional as F
from torch import nn


class BatchNorm1d(nn.BatchNorm1d):
    """nn.BatchNorm1d; a single value per channel is normalised as in evaluation."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.numel() > self.num_features:
            return super().forward(input)
        return _normalise_with_statistics(self, input)


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d; a single value per channel is normalised as in evaluation."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.numel() > self.num_features:
            return super().forward(input)
        return _normalise_with_statistics(self, input)


def _normalise_with_statistics(
    layer: nn.BatchNorm1d | nn.BatchNorm2d, batch: torch.Tensor
) -> torch.Tensor:
    """Normalise with the running statistics, since one value has no standard deviation."""
    statistics = layer.running_mean, layer.running_var
    return F.batch_norm(batch, *statistics, layer.weight, layer.bias, eps=layer.eps)
