"""Image gradients as a fixed first layer."""

import torch
import torch.nn.functional as F
from torch import nn


class Sobel(nn.Module):
    """Horizontal and vertical Sobel gradients of the grey image: (B, c, H, W) -> (B, 2, H, W).

    The fixed first layer of DeepCluster (Caron et al., ECCV 2018), which keeps the network from
    clustering by colour."""

    kernels: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        horizontal = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        kernels = torch.stack([horizontal, horizontal.T])[:, None]
        self.register_buffer("kernels", kernels, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.conv2d(images.mean(dim=1, keepdim=True), self.kernels, padding=1)
