"""Which files are images: one list of extensions and one of formats, for training and prediction.

A file is listed by its extension and read by its content.  Pillow is given the formats by name: it
knows others that it hands to another program, such as EPS to Ghostscript.  Three formats need a
package of the optional group `formats` (pyproject.toml).
"""

import importlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

PILLOW_FORMATS = (
    "PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "QOI", "ICO",
    "PCX", "TGA",
)  # fmt: skip
HEIF_EXTENSIONS = ("heic", "heif", "hif")
DICOM_EXTENSIONS = ("dcm", "dicom")
IMAGE_EXTENSIONS = (
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx",
    "gif", "tif", "tiff", "webp", "bmp", "dib", "pgm", "ppm", "pbm", "pnm", "pfm", "avif", "avifs",
    "qoi", "ico", "pcx", "tga", *HEIF_EXTENSIONS, *DICOM_EXTENSIONS,
)  # fmt: skip
INSTALL_COMMAND = "pip install --group formats"

MAX_BYTES_AT_ONCE = 2**20
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
OTHER_FORMATS = {  # how a file of a known format starts that is not read here
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"<svg": "SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
}


class UnreadableImage(Exception):
    """A file is not an image that can be used; the text says why."""


def has_image_extension(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower().removeprefix(".") in IMAGE_EXTENSIONS


@contextmanager
def open_regular_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """The open file; a small one is read at once, which saves most calls of the system.

    Raises UnreadableImage for whatever goes wrong while it is open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # no wait for a pipe
        with open(descriptor, "rb", buffering=0) as raw:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise UnreadableImage("not a regular file")
            if facts.st_size <= MAX_BYTES_AT_ONCE:
                yield io.BytesIO(os.read(descriptor, facts.st_size))
            else:
                yield io.BufferedReader(raw)
    except UnreadableImage:
        raise
    except Exception as error:  # the libraries raise many kinds
        raise UnreadableImage(_failure_reason(error)) from None


@contextmanager
def ignore_warnings() -> Iterator[None]:
    """What the libraries warn of concerns metadata, not pixels; errors are raised as well."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_with_pillow(file: IO[bytes], start: bytes) -> Image.Image:
    """The image, of which only the header has been read.

    start: the first bytes of the file, at least 16 of them where it has so many.
    Raises UnreadableImage for other formats and for images of too many pixels."""
    file.seek(0)
    if start.startswith(PNG_START):  # Image.open would ask every format, which takes time
        image: Image.Image = PngImageFile(file)
        check_pixel_count(image.width, image.height)
        return image
    formats = _available_formats()
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        require_package("pillow_heif", "pillow-heif", "HEIC").register_heif_opener()
        formats = ["HEIF"]
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError:
        raise UnreadableImage(_describe_unknown(start)) from None
    check_pixel_count(image.width, image.height)
    return image


def check_pixel_count(width: int, height: int) -> None:
    """Raises UnreadableImage for so many pixels that decoding them could exhaust the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > limit:
        raise UnreadableImage(f"more than {limit:,} pixels")


def require_package(module: str, package: str, subject: str) -> Any:
    """An optional package, which logs nothing: faults of a file reach the user as one line.

    Raises UnreadableImage where it is not installed."""
    logging.getLogger(module).setLevel(logging.CRITICAL + 1)
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnreadableImage(f"{subject} needs the package {package}: {INSTALL_COMMAND}") from None


def _available_formats() -> list[str]:
    Image.init()
    return [name for name in PILLOW_FORMATS if name in Image.OPEN]


def _describe_unknown(start: bytes) -> str:
    for beginning, name in OTHER_FORMATS.items():
        if start.startswith(beginning):
            return f"{name}, which is not one of the formats read here"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF, which needs Pillow 11.3 or newer"
    return "not an image"


def _failure_reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    return str(error) or type(error).__name__
