"""3 x 3 convolution by Winograd's minimal filtering, F(4 x 4, 3 x 3), for wide layers on the CPU.

Source: Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.  Overlapping
input tiles d of 6 x 6 pixels give output tiles Y of 4 x 4, with a 3 x 3 filter g:

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        36 products where the definition needs 144

The sum over channels turns ⊙ into 36 matrix products, one per position.  As vec(Bᵀ d B) is
(Bᵀ ⊗ Bᵀ) vec(d), each transform is one matrix product over all tiles and channels.  The result
equals the definition up to rounding, which in float32 is about five times that of the library; on
GPUs, the vendors' libraries choose the same algorithm.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

TILE_SIZE = 4  # side of an output tile in pixels; an input tile has two more
# Besides infinity; half the rounding error of 0, ±1, ±2.
INTERPOLATION_POINTS = (0, 0.75, -0.75, 1.5, -1.5)
MIN_CHANNELS = 128  # input and output channels from which the transforms pay off
TILES_PER_CHUNK = 128  # tiles transformed at a time, so that they stay in the cache


def _make_transforms() -> tuple[torch.Tensor, ...]:
    """Aᵀ ⊗ Aᵀ (16, 36), Bᵀ ⊗ Bᵀ (36, 36) and G ⊗ G (36, 9), float64, by the Toom-Cook construction:
    polynomials are evaluated at INTERPOLATION_POINTS and interpolated."""
    others = [[q for q in INTERPOLATION_POINTS if q != p] for p in INTERPOLATION_POINTS]
    size = len(INTERPOLATION_POINTS) + 1
    a, b, g = np.zeros((TILE_SIZE, size)), np.zeros((size, size)), np.zeros((size, 3))
    for i, point in enumerate(INTERPOLATION_POINTS):
        a[:, i] = point ** np.arange(TILE_SIZE)
        g[i] = point ** np.arange(3) / np.prod([point - q for q in others[i]])
        b[i, : size - 1] = np.poly(others[i])[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(INTERPOLATION_POINTS)[::-1]
    return tuple(torch.from_numpy(np.kron(m, m)) for m in (a, b, g))


OUTPUT_TRANSFORM, INPUT_TRANSFORM, FILTER_TRANSFORM = _make_transforms()


class WinogradConv2d(nn.Conv2d):
    """nn.Conv2d that uses Winograd's algorithm where it is faster, and the library elsewhere.

    With Winograd's algorithm, outputs are channels last and there is no second derivative."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self._is_faster(images):
            return super().forward(images)
        return _WinogradFunction.apply(images, self.weight, self.bias, self.padding[0])

    def _is_faster(self, images: torch.Tensor) -> bool:
        return (
            self.kernel_size == (3, 3)
            and (self.stride == self.dilation == (1, 1) and self.groups == 1)
            and (self.padding in ((0, 0), (1, 1)) and self.padding_mode == "zeros")
            and min(self.in_channels, self.out_channels) >= MIN_CHANNELS
            and (images.ndim == 4 and min(images.shape[2:]) >= TILE_SIZE + 2)
            and images.dtype == torch.float32
            and images.device.type == "cpu"
            and not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
        )


class _WinogradFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        padding: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.padding = padding
        return convolve_3x3(images, weight, bias, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        needs_images, needs_weight, needs_bias, _ = ctx.needs_input_grad
        rotated = weight.flip(2, 3).transpose(0, 1)
        return (
            convolve_3x3(gradient, rotated, None, 2 - ctx.padding) if needs_images else None,
            weight_gradient(images, gradient, ctx.padding) if needs_weight else None,
            gradient.sum(dim=(0, 2, 3)) if needs_bias else None,
            None,
        )


def convolve_3x3(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    padding: int = 0,
) -> torch.Tensor:
    """Convolve images (N, c, H, W) with weight (d, c, 3, 3) and bias (d,): (N, d, H', W'), channels
    last, with H' = H + 2·padding − 2 and W' likewise."""
    d, c = weight.shape[:2]
    filters = FILTER_TRANSFORM.to(weight) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    filters = filters.view(-1, c, d)
    transform = OUTPUT_TRANSFORM.to(images)
    n, height, width = len(images), *(side + 2 * padding - 2 for side in images.shape[2:])
    down, across = -(-height // TILE_SIZE), -(-width // TILE_SIZE)
    outputs = images.new_empty(n, down, TILE_SIZE, across, TILE_SIZE, d)
    for part, tiles in _iter_input_tiles(images, padding, down, across):
        result = transform @ torch.bmm(tiles, filters).view(len(filters), -1)
        result = result.view(TILE_SIZE, TILE_SIZE, -1, down, across, d).permute(2, 3, 0, 4, 1, 5)
        torch.add(result, 0 if bias is None else bias, out=outputs[part])
    outputs = outputs.view(n, TILE_SIZE * down, TILE_SIZE * across, d)[:, :height, :width]
    return outputs.contiguous().permute(0, 3, 1, 2)


def weight_gradient(images: torch.Tensor, gradient: torch.Tensor, padding: int = 0) -> torch.Tensor:
    """The gradient of the weight: (d, c, 3, 3).

    images: (N, c, H, W); gradient: (N, d, H', W'), of the outputs."""
    c, (n, d, height, width) = images.shape[1], gradient.shape
    down, across = -(-height // TILE_SIZE), -(-width // TILE_SIZE)
    gradient = gradient.permute(0, 2, 3, 1)
    if height % TILE_SIZE or width % TILE_SIZE:
        right, below = TILE_SIZE * across - width, TILE_SIZE * down - height
        gradient = F.pad(gradient, (0, 0, 0, right, 0, below))
    gradient = gradient.reshape(n, down, TILE_SIZE, across, TILE_SIZE, d).permute(2, 4, 0, 1, 3, 5)
    transform = OUTPUT_TRANSFORM.to(images).T
    size = len(transform)
    filters = images.new_zeros(size, c, d)
    for part, tiles in _iter_input_tiles(images, padding, down, across):
        slopes = (transform @ gradient[:, :, part].reshape(TILE_SIZE**2, -1)).view(size, -1, d)
        filters.baddbmm_(tiles.transpose(1, 2), slopes)
    weight = FILTER_TRANSFORM.to(images).T @ filters.view(size, -1)
    return weight.view(3, 3, c, d).permute(3, 2, 0, 1)


def _iter_input_tiles(
    images: torch.Tensor, padding: int, down: int, across: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """The transformed input tiles of a few images at a time: slice of the images, (36, tiles, c).

    down, across: number of output tiles per image, vertically and horizontally."""
    n, c, height, width = images.shape
    side, step = TILE_SIZE + 2, max(1, TILES_PER_CHUNK // (down * across))
    padded = images.new_zeros(step, TILE_SIZE * down + 2, TILE_SIZE * across + 2, c)
    image, row, column, _ = padded.stride()
    overlapping = padded.as_strided(
        (side, side, step, down, across, c),
        (row, column, image, TILE_SIZE * row, TILE_SIZE * column, 1),
    )
    transform = INPUT_TRANSFORM.to(images)
    for start in range(0, n, step):
        part = images[start : start + step].permute(0, 2, 3, 1)
        padded[: len(part), padding : padding + height, padding : padding + width] = part
        tiles = overlapping[:, :, : len(part)].reshape(side**2, -1)
        yield slice(start, start + len(part)), (transform @ tiles).view(side**2, -1, c)
