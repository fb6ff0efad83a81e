"""Image gradients as a fixed first layer."""

import torch
import torch.nn.functional as F
from torch import nn


class Sobel(nn.Module):
    """Horizontal and vertical Sobel gradients of the grey image: (B, c, H, W) -> (B, 2, H, W).

    The fixed first layer of DeepCluster (Caron et al., ECCV 2018), which takes colour
    away as a clue."""

    def __init__(self):
        super().__init__()
        across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.register_buffer("kernels", torch.stack([across, across.T])[:, None], persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.conv2d(images.mean(dim=1, keepdim=True), self.kernels, padding=1)
