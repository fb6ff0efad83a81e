"""Dropout of every other unit."""

import torch
import torch.nn.functional as F
from torch import nn

# Row b: what the eight bits of byte b do to eight units.
_BYTE_SCALES = 2.0 * (torch.arange(256)[:, None] >> torch.arange(8) & 1)


class HalfDropout(nn.Module):
    """nn.Dropout(0.5); on the CPU at a random bit a unit, where torch draws a number: 64 units a
    draw.

    On any other device it is the library's own, one kernel without a table; never run on a GPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if not x.is_cpu:
            return F.dropout(x, 0.5)
        draws = torch.empty(-(-x.numel() // 64), dtype=torch.int64, device=x.device)
        scales = _BYTE_SCALES.to(x)[draws.random_(-(2**63), None).view(torch.uint8).long()]
        order = torch.empty_like(x).stride()  # as x lies in memory, less its gaps
        scales = scales.view(-1)[: x.numel()].as_strided(x.shape, order)
        return x * scales
