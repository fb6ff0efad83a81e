"""Dropout with probability one half."""

import torch
import torch.nn.functional as F
from torch import nn

# Row b: the factors of eight units for the eight bits of byte b.
_BYTE_SCALES = 2.0 * (torch.arange(256)[:, None] >> torch.arange(8) & 1)


class HalfDropout(nn.Module):
    """nn.Dropout(0.5).

    On the CPU it draws one random bit per unit, 64 units per draw, where torch draws one number per
    unit.  On other devices it is the library's own, a single kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if not x.is_cpu:
            return F.dropout(x, 0.5)
        draws = torch.empty(-(-x.numel() // 64), dtype=torch.int64, device=x.device)
        scales = _BYTE_SCALES.to(x)[draws.random_(-(2**63), None).view(torch.uint8).long()]
        strides = torch.empty_like(x).stride()  # the memory layout of x, without its gaps
        scales = scales.view(-1)[: x.numel()].as_strided(x.shape, strides)
        return x * scales
