"""An image as its file holds it, and what becomes of it: a square of one size in 8 bits.

Images of 8 bits stay images of Pillow, whose arithmetic resizes them.  All other values are resized
as floats, and become 8 bits when the scale of the whole data set is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from data.image_formats import UnreadableImage
from data.transparency import FAINT, channel_extrema, composite
from data.value_scale import EIGHT_BITS, FLOATS, ValueScale, value_kind

UINT8 = np.dtype(np.uint8)
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
PAGE_CHOICES = ("first", "mean", "max")


class ImagePage(NamedTuple):
    """One page, frame or band, upright: a grey or colour image of 8 bits, or (H, W) or (H, W, 3)
    values of any numeric type.

    alpha: (H, W) of any numeric type; is_white_zero: whether 0 stands for white."""

    values: Image.Image | np.ndarray
    alpha: np.ndarray | None = None
    is_white_zero: bool = False
    is_premultiplied: bool = False


class StoredImage(NamedTuple):
    """An image of a file.

    values: an image of Pillow in mode L or RGB; else (H, W) or (H, W, 3).
    opacity: (H, W) float32 in [0, 1], by which the values have been multiplied already.
    smallest, largest: of the values that are visible; of 8 bits 0 and 255."""

    values: Image.Image | np.ndarray
    opacity: np.ndarray | None
    is_white_zero: bool
    has_several_pages: bool
    dtype: np.dtype
    smallest: float
    largest: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)"""
        if not isinstance(self.values, Image.Image):
            return self.values.shape
        width, height = self.values.size
        return (height, width) if self.is_grey else (height, width, 3)

    @property
    def side(self) -> int:
        """The shorter one, in pixels."""
        return min(self.shape[:2])

    @property
    def is_grey(self) -> bool:
        if isinstance(self.values, Image.Image):
            return self.values.mode == "L"
        return self.values.ndim == 2

    @property
    def kind(self) -> str:
        """Of the values: data.value_scale.value_kind."""
        return value_kind(self.dtype)

    def find_largest(self) -> float:
        """The largest value, also of 8 bits."""
        if not isinstance(self.values, Image.Image):
            return self.largest
        return max(high for _, high in channel_extrema(self.values))


class FittedImage(NamedTuple):
    """A square of the final size.

    planes: (1 or 3, S, S) uint8 of 8 bits, else float32 values of the file, with the opacity as a
    further plane where there is one."""

    planes: np.ndarray
    kind: str
    has_opacity: bool = False
    is_white_zero: bool = False

    def render(self, scale: ValueScale, grey: bool) -> np.ndarray:
        """-> (1 or 3, S, S) uint8.  What is transparent becomes white, or black where the image is
        otherwise of one colour."""
        pixels = self.planes
        if pixels.dtype != np.uint8:
            pixels = self._scale_values(scale)
        return pixels if grey or len(pixels) == 3 else np.repeat(pixels, 3, axis=0)

    def _scale_values(self, scale: ValueScale) -> np.ndarray:
        if not self.has_opacity:
            return self._to_uint8(self.planes, scale)
        values, transparency = self.planes[:-1], 1 - np.clip(self.planes[-1:], 0, 1)
        white, black = scale.high, scale.low
        if self.is_white_zero:
            white, black = black, white
        pixels = self._to_uint8(values + transparency * white, scale)
        if np.ptp(pixels) <= FAINT:
            pixels = self._to_uint8(values + transparency * black, scale)
        return pixels

    def _to_uint8(self, values: np.ndarray, scale: ValueScale) -> np.ndarray:
        pixels = scale.to_uint8(np.rint(values) if self.kind != FLOATS else values)
        return 255 - pixels if self.is_white_zero else pixels


def combine_pages(
    has_several: bool, pages: Iterable[ImagePage], page: str, grey: bool | None = None
) -> StoredImage:
    """One image of the pages of a file; pages of another shape or type than the first are left out.

    page: one of PAGE_CHOICES; grey: whether to make it grey, None to leave it as it is.
    Raises UnreadableImage for values that are not finite numbers."""
    images = (_store(one, grey) for one in pages)
    first = next(images)
    if page == "first" or not has_several:
        return first._replace(has_several_pages=True) if has_several else first
    same = [first]
    for image in images:
        if image.shape == first.shape and image.dtype == first.dtype:
            same.append(image)
    combine = np.max if page == "max" else np.mean
    values = combine([np.asarray(image.values) for image in same], axis=0)
    opacity = None
    if any(image.opacity is not None for image in same):
        shape = first.shape[:2]
        opacity = combine(
            [np.ones(shape) if one.opacity is None else one.opacity for one in same], axis=0
        ).astype(np.float32)
    if isinstance(first.values, Image.Image):
        values = Image.fromarray(np.uint8(np.rint(values)))
    return first._replace(
        values=values,
        opacity=opacity,
        has_several_pages=True,
        smallest=min(image.smallest for image in same),
        largest=max(image.largest for image in same),
    )


def fit_image(image: StoredImage, size: int, as_values: bool = False) -> FittedImage:
    """Crop the longer side equally at both ends, and resize the square to (size, size).

    as_values: also those of 8 bits, because their scale changes them."""
    if isinstance(image.values, Image.Image) and not as_values:
        content = _fit(image.values, size).tobytes()  # faster than numpy.asarray
        planes = np.frombuffer(content, np.uint8).reshape(size, size, -1).transpose(2, 0, 1)
        return FittedImage(planes, EIGHT_BITS)
    values = np.asarray(image.values).astype(np.float32)
    planes = [values] if image.is_grey else list(values.transpose(2, 0, 1))
    if image.opacity is not None:
        planes.append(image.opacity)
    fitted = [np.asarray(_fit(Image.fromarray(np.ascontiguousarray(p)), size)) for p in planes]
    return FittedImage(np.stack(fitted), image.kind, image.opacity is not None, image.is_white_zero)


def _fit(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _store(page: ImagePage, grey: bool | None) -> StoredImage:
    values = page.values
    if isinstance(values, np.ndarray) and value_kind(values.dtype) == EIGHT_BITS:
        values = _to_pillow(page)
    if isinstance(values, Image.Image):
        if grey is not None:
            values = values.convert("L" if grey else "RGB")
        return StoredImage(values, None, False, False, UINT8, 0, 255)
    return _store_values(values, page, grey)


def _to_pillow(page: ImagePage) -> Image.Image:
    """A page whose values are bytes or truth values."""
    values = np.asarray(page.values)
    if values.dtype == bool:
        values = values * np.uint8(255)
    if page.is_white_zero:
        values = 255 - values
    image = Image.fromarray(np.ascontiguousarray(values))
    if page.alpha is None:
        return image
    target = image.mode
    if page.is_premultiplied:
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(np.ascontiguousarray(page.alpha)))
        image = Image.frombytes("RGBa", image.size, image.tobytes()).convert("RGBA")
    else:
        image.putalpha(Image.fromarray(np.ascontiguousarray(page.alpha)))
    return composite(image, target)


def _store_values(values: np.ndarray, page: ImagePage, grey: bool | None) -> StoredImage:
    dtype = values.dtype.newbyteorder("=")
    if dtype.kind == "f":
        invalid = int((~np.isfinite(values)).sum())
        if invalid:
            raise UnreadableImage(f"{invalid} of its values are not finite numbers")
    opacity = None if page.alpha is None else _opacity(page.alpha)
    visible = values
    if opacity is not None:
        visible, values = values[opacity > 0], values.astype(np.float32)
        if not page.is_premultiplied:
            values = values * (opacity if values.ndim == 2 else opacity[..., None])
    smallest, largest = float(visible.min()), float(visible.max())
    if grey and values.ndim == 3:
        values = values.astype(np.float32) @ LUMINANCE
    if grey is False and values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return StoredImage(values, opacity, page.is_white_zero, False, dtype, smallest, largest)


def _opacity(alpha: np.ndarray) -> np.ndarray | None:
    """(H, W) float32 in [0, 1]; None where it is the same everywhere."""
    if alpha.min() == alpha.max():
        return None
    full = 1 if alpha.dtype.kind in "fb" else np.iinfo(alpha.dtype).max
    return np.clip(alpha.astype(np.float32) / full, 0, 1)
