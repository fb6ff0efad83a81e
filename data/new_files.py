"""Image files that a finished run has not seen, as pixels like those that it learned from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.file_scales import FileValues, choose_scales, usual_scale
from data.image_decoding import decode_without_scale, read_image
from data.image_formats import UnreadableImage, ignore_warnings
from data.image_tree import format_names
from data.stored_image import FittedImage, fit_image
from data.value_scale import EIGHT_BITS, scale_from_dict
from utils.console import print_line, to_one_line


def decode_for_run(
    folder: Path, names: Sequence[str], facts: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    """The files that can be read, and their pixels (n, C, S, S) uint8 as the run would see them.

    names: relative to the folder; facts: the run's preprocessing.  Files that cannot be read are
    reported on standard error.  Values of a kind that the run did not have get their own scale."""
    size, grey = facts["size"], facts["channels"] == 1
    scales = {kind: scale_from_dict(plain) for kind, plain in facts.get("value_scales", {}).items()}
    has_scales = "value_scales" in facts  # runs of earlier versions have none
    has_scaled_bytes = not usual_scale(scales, EIGHT_BITS).is_identity
    paths: list[str] = []
    pixels: list[np.ndarray] = []
    fitted: list[FittedImage] = []
    without_scale: list[FileValues] = []
    several: list[str] = []
    for name in names:
        path = folder / name
        try:
            if not has_scales:
                pixels.append(decode_without_scale(path, size, grey))
            else:
                with ignore_warnings():
                    image = read_image(path, facts["page"], grey)
                fitted.append(fit_image(image, size, has_scaled_bytes))
                if image.kind not in (*scales, EIGHT_BITS):
                    values = FileValues(path, image.dtype, image.smallest, image.largest)
                    without_scale.append(values)
                if image.has_several_pages:
                    several.append(name)
        except UnreadableImage as error:
            print_line(to_one_line(f"left out: {path}: {error}"), "stderr")
        else:
            paths.append(name)
    new_scales, lines = choose_scales(without_scale, None)
    if several:
        lines.append(f"{len(several)} files have several pages: {format_names(several)}")
    for line in lines:
        print_line(to_one_line(line), "stderr")
    scales |= new_scales
    pixels += [one.render(usual_scale(scales, one.kind), grey) for one in fitted]
    return paths, np.stack(pixels) if pixels else np.empty(0)
