"""Transparent images of 8 bits, put on a background on which something can be seen."""

from typing import Any

from PIL import Image

FAINT = 8  # levels of 255: an image that differs less between its pixels shows nothing
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def composite(
    image: Image.Image, target: str, background: tuple[int, int, int] | None = None
) -> Image.Image:
    """A transparent image of 8 bits on its background, else on white; on black where it would be of
    one colour otherwise.  An opacity that is the same everywhere is ignored.

    target: mode L or RGB; background: the one that the file names."""
    rgba = image.convert("RGBA")
    lowest, highest = rgba.getchannel("A").getextrema()
    if lowest == highest:
        return image.convert(target)
    shown = None
    for colour in (background, WHITE, BLACK):
        if colour is None:
            continue
        ground = Image.new("RGBA", image.size, (*colour, 255))
        flat = Image.alpha_composite(ground, rgba).convert("RGB")
        shown = shown or flat
        if max(high - low for low, high in channel_extrema(flat)) > FAINT:
            shown = flat
            break
    assert shown is not None  # white is always tried
    return shown.convert(target)


def channel_extrema(image: Image.Image) -> list[tuple[float, float]]:
    """The smallest and the largest value of each channel."""
    extrema: Any = image.getextrema()
    return [extrema] if len(image.getbands()) == 1 else list(extrema)
