"""Image files of every kind, as real programs write them, and the pixels that they become."""

import io
import itertools
import json
import os
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from data import DATASETS, decoded_cache
from data.custom import FlipOptions, ValueOptions
from data.folder import FolderOptions
from data.image_decoding import decode_without_scale, read_image
from data.image_formats import IMAGE_EXTENSIONS, UnreadableImage
from data.stored_image import fit_image
from utils.errors import UserError

SIDE = 8
RAMP = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)  # 0 .. 63, a different value per pixel


def tiff(path, values, **options):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(path, values, **options)


def png(path, values):
    """Also 16 bits in colour, which Pillow cannot write."""
    path.write_bytes(pytest.importorskip("imagecodecs").png_encode(values))


def write_folder(root, make, count=6):
    """Classes a and b in train and test; make(number) -> an image, or bytes and their extension."""
    number = 0
    for part, name in itertools.product(("train", "test"), "ab"):
        (root / part / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            content = make(number)
            if isinstance(content, tuple):
                (root / part / name / f"{number:03}.{content[1]}").write_bytes(content[0])
            else:
                content.save(root / part / name / f"{number:03}.png")
            number += 1
    return root


def read_folder(root, value_range=None, **options):
    return DATASETS["folder"].load_and_check(
        str(root),
        flip=FlipOptions(False),
        folder=FolderOptions(**options),
        values=ValueOptions(value_range),
    )


def warnings_with(words, loaded):
    """Images repeat in these folders, which has a warning of its own."""
    return [line for line in loaded.warnings if words in line]


def pixels_by_path(loaded):
    return dict(zip(loaded.image_paths, loaded.train.pixels.numpy(), strict=True))


def encoded(image, extension, **options) -> tuple[bytes, str]:
    stream = io.BytesIO()
    image.save(stream, {"tif": "TIFF", "png": "PNG", "gif": "GIF"}[extension], **options)
    return stream.getvalue(), extension


def encoded_tiff(values, **options) -> tuple[bytes, str]:
    stream = io.BytesIO()
    tiff(stream, values, **options)
    return stream.getvalue(), "tif"


def stored_values(path, page="first"):
    return np.asarray(read_image(path, page).values)


# ---- The scale of a folder

SCALES = {  # type, smallest, largest of the folder -> value in a file and its pixel
    "12 bits": (np.uint16, 0, 4095, {2048: 128, 4095: 255}),
    "faint": (np.uint16, 300, 450, {300: 150, 450: 225}),
    "14 bits": (np.uint16, 0, 16383, {8192: 128}),
    "16 bits": (np.uint16, 0, 65535, {256: 1, 65535: 255}),
    "8 in 16": (np.uint16, 0, 255, {77: 77}),
    "int32": (np.int32, 0, 255, {77: 77}),
    "Hounsfield": (np.int16, -1000, 60, {-1000: 0, -470: 128, 60: 255}),
    "Hounsfield in 32": (np.int32, -1000, 60, {-470: 128}),
    "fractions": (np.float32, 0, 1, {0.5: 128, 1: 255}),
    "around zero": (np.float32, -1, 1, {0: 128}),
    "counts": (np.uint8, 0, 16, {8: 128, 16: 255}),
    "mask": (np.uint8, 0, 1, {1: 255}),
    "dark": (np.uint8, 0, 40, {40: 40}),
    "double": (np.float64, 270, 320, {300: 153}),
    "uint32": (np.uint32, 0, 2**24, {2**24: 128}),
    "half": (np.float16, 0, 1, {0.5: 128}),
}


@pytest.mark.parametrize("name", SCALES)
def test_one_scale_for_all_files(name, tmp_path):
    """A file alone would be scaled otherwise: most do not hold the largest value."""
    dtype, smallest, largest, pixels = SCALES[name]
    stored = [smallest, largest, *pixels]
    root = write_folder(
        tmp_path,
        lambda number: encoded_tiff(np.full((SIDE, SIDE), stored[number % len(stored)], dtype)),
    )
    loaded = read_folder(root)
    for path, image in pixels_by_path(loaded).items():
        value = stored[int(path[-7:-4]) % len(stored)]
        if value in pixels:
            assert np.unique(image).tolist() == [pixels[value]], (path, value)
    is_usual = name in ("8 in 16", "int32", "dark")
    lines = warnings_with("--value-range", loaded)
    assert len(lines) == (not is_usual)
    if not is_usual:
        assert f"{largest:g}" in lines[0]


@pytest.mark.parametrize("largest", [255, 1023, 4095, 65535])
def test_16_bit_png_files(largest, tmp_path):
    values = np.uint16(np.round(RAMP / 63 * largest))
    root = write_folder(tmp_path / "grey", lambda number: Image.fromarray(values))
    image = read_folder(root).train.pixels[0, 0].numpy().astype(int)
    assert image.max() >= 254 and abs(image - RAMP * 255 / 63).max() <= 1
    for channels in (2, 3, 4):
        colours = np.stack([values // n for n in range(1, channels + 1)], axis=-1)
        png(tmp_path / "one.png", colours)
        stored = read_image(tmp_path / "one.png")
        if channels in (3, 4):
            assert stored.values.shape == (SIDE, SIDE, 3)
        if channels == 3:
            np.testing.assert_array_equal(stored.values, colours)


def test_value_range_replaces_the_rule(tmp_path):
    root = write_folder(tmp_path, lambda number: Image.fromarray(np.uint16(RAMP * 10 + number)))
    image = read_folder(root, "100,355").train.pixels[0, 0].numpy()
    np.testing.assert_array_equal(image, np.clip(RAMP * 10 - 100, 0, 255))
    root = write_folder(tmp_path / "bytes", lambda number: Image.fromarray(np.uint8(RAMP)))
    image = read_folder(root, "0,51").train.pixels[0, 0].numpy()
    np.testing.assert_array_equal(image, np.clip(RAMP * 5, 0, 255))


def test_a_mixture_of_8_bits_and_more_has_a_scale_for_each(tmp_path):
    deep, flat = Image.fromarray(np.uint16(RAMP * 65)), Image.fromarray(np.uint8(RAMP * 4))
    root = write_folder(tmp_path, lambda number: deep if number % 2 else flat)
    loaded = read_folder(root)
    (line,) = warnings_with("12 files", loaded)
    assert "000.png" in line and "001.png" in line
    for path, image in pixels_by_path(loaded).items():
        is_deep = int(path[-7:-4]) % 2
        expected = RAMP * 65 >> 4 if is_deep else RAMP * 4
        np.testing.assert_array_equal(image[0], expected)
    wide = read_folder(root, "0,8190")
    for path, image in pixels_by_path(wide).items():
        if int(path[-7:-4]) % 2 == 0:
            np.testing.assert_array_equal(image[0], RAMP * 4)
        else:
            assert abs(int(image.max()) - 63 * 65 * 255 / 8190) <= 1


MIXTURES = {
    "8 bits in 16 beside 12 bits": (np.uint16(RAMP * 4), np.uint16(RAMP * 65)),
    "8 bits in 16 beside 16 bits": (np.uint16(RAMP * 4), np.uint16(RAMP * 1040)),
    "integers and floats": (np.uint16(RAMP * 60), np.float32(RAMP)),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_ambiguous_mixtures_are_refused(name, tmp_path):
    first, second = MIXTURES[name]
    root = write_folder(
        tmp_path,
        lambda number: encoded(Image.fromarray(second if number % 3 else first), "tif"),
    )
    with pytest.raises(UserError) as error:
        read_folder(root)
    line = str(error.value)
    assert "8 files" in line and "16 files" in line and "\n" not in line
    assert "000.tif" in line and "001.tif" in line and "--value-range" in line
    assert len(read_folder(root, "0,4095").train.labels) == 12


def test_dark_files_of_a_camera_are_not_taken_for_8_bits(tmp_path):
    """There are files of every brightness between."""
    root = write_folder(
        tmp_path, lambda number: Image.fromarray(np.uint16(RAMP * (1 + 2.8 * number)))
    )
    assert len(read_folder(root).warnings) == 1


def test_numbers_that_are_not_finite_are_named(tmp_path):
    values = np.float32(RAMP) / 63
    root = write_folder(tmp_path, lambda number: encoded(Image.fromarray(values), "tif"))
    values[3, 3] = np.nan
    Image.fromarray(values).save(root / "train" / "a" / "000.tif")
    with pytest.raises(UserError, match=r"000.tif \(1 of its values .* finite"):
        read_folder(root)
    assert len(read_folder(root, skip_corrupt=True).train.labels) == 11


# ---- Transparency

STROKE = np.zeros((SIDE, SIDE), np.uint8)
STROKE[2:5, 3] = (90, 255, 255)


def rgba(colour, alpha):
    image = np.empty((SIDE, SIDE, 4), np.uint8)
    image[..., :3], image[..., 3] = colour, alpha
    return Image.fromarray(image)


def with_background(image, *levels) -> bytes:
    """A PNG with a chunk bKGD."""
    content = encoded(image, "png")[0]
    chunk = b"bKGD" + struct.pack(f">{len(levels)}H", *levels)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + chunk + content[33:]


def palette_image(transparent):
    image = Image.fromarray(np.uint8(STROKE > 0))
    image = image.convert("P")
    image.putpalette([200, 10, 30, 0, 60, 120])
    image.info["transparency"] = transparent
    return image


TRANSPARENT = {  # content -> the colour of the stroke and that of the ground
    "black ink on nothing": (encoded(rgba(0, STROKE), "png")[0], (0, 0, 0), (255, 255, 255)),
    "white ink on nothing": (encoded(rgba(255, STROKE), "png")[0], (255, 255, 255), (0, 0, 0)),
    "red ink on nothing": (
        encoded(rgba((255, 0, 0), STROKE), "png")[0],
        (255, 0, 0),
        (255, 255, 255),
    ),
    "a hole": (encoded(rgba((9, 80, 90), 255 - STROKE), "png")[0], (255, 255, 255), (9, 80, 90)),
    "a background": (with_background(rgba(0, STROKE), 0, 200, 100), (0, 0, 0), (0, 200, 100)),
    "a black background": (with_background(rgba(0, STROKE), 0, 0, 0), (0, 0, 0), (255, 255, 255)),
    "constant": (encoded(rgba((9, 80, 90), 7), "png")[0], (9, 80, 90), (9, 80, 90)),
    "nothing": (encoded(rgba((9, 80, 90), 0), "png")[0], (9, 80, 90), (9, 80, 90)),
    "grey": (encoded(rgba(40, STROKE).convert("LA"), "png")[0], (40,), (255,)),
    "palette": (encoded(palette_image(0), "png")[0], (0, 60, 120), (255, 255, 255)),
    "palette with levels": (
        encoded(palette_image(bytes([0, 255])), "png")[0],
        (0, 60, 120),
        (255, 255, 255),
    ),
    "GIF": (encoded(palette_image(0), "gif")[0], (0, 60, 120), (255, 255, 255)),
    "GIF with background": (
        encoded(palette_image(0), "gif", background=1)[0],
        (0, 60, 120),
        (255, 255, 255),  # the file's is that of the stroke, which would vanish
    ),
    "TIFF": (encoded(rgba(0, STROKE), "tif")[0], (0, 0, 0), (255, 255, 255)),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_images_are_put_on_a_background(name, tmp_path):
    content, stroke, ground = TRANSPARENT[name]
    path = tmp_path / "image.png"
    path.write_bytes(content)
    image = fit_image(read_image(path), SIDE).planes
    assert abs(image[:, 4, 3].astype(int) - stroke).max() <= 1
    assert abs(image[:, 0, 0].astype(int) - ground).max() <= 1
    assert len(image) == len(stroke)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_of_16_bits(channels, tmp_path):
    values = np.zeros((SIDE, SIDE, channels), np.uint16)
    values[..., -1] = STROKE * np.uint16(257)
    values[..., :-1] = 1000  # of 12 bits
    values[0, 0] = 4095
    values[..., 0, -1] = 65535
    stream = tmp_path / "x.png"
    png(stream, values)
    content = stream.read_bytes()
    loaded = read_folder(write_folder(tmp_path / "f", lambda number: (content, "png")))
    image = loaded.train.pixels[0].numpy()
    assert len(image) == channels - 1
    assert (image[:, 4, 3] == 1000 >> 4).all()  # the stroke
    assert (image[:, 7, 7] == 255).all()  # nothing


def test_a_transparent_level_of_16_bits(tmp_path):
    values = np.uint16(RAMP * 65)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=0)
    stored = read_image(tmp_path / "x.png")
    assert stored.opacity is not None and stored.opacity[0, 0] == 0 and stored.opacity[0, 1] == 1


# ---- TIFF: the samples are those that were written

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


@pytest.mark.parametrize("dtype", TYPES)
def test_every_kind_of_grey_tiff(dtype, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "x.tif"
    kinds = itertools.product(
        "<>", ("minisblack", "miniswhite"), (None, "zlib", "lzw", "lzma"), (False, True), (0, 16)
    )
    for order, photometric, compression, predictor, tile in kinds:
        if predictor and not compression:
            continue
        if np.dtype(dtype).kind == "f":
            values = rng.normal(0, 100, (24, 32)).astype(dtype)
        else:
            info = np.iinfo(dtype)
            values = rng.integers(info.min, info.max, (24, 32), dtype, endpoint=True)
        tiff(
            path, values, photometric=photometric, compression=compression, predictor=predictor,
            tile=(tile, tile) if tile else None, byteorder=order,
        )  # fmt: skip
        image = read_image(path)
        expected = values
        if dtype == "uint8" and photometric == "miniswhite":
            expected = 255 - values
        else:
            assert image.is_white_zero == (photometric == "miniswhite")
        np.testing.assert_array_equal(np.asarray(image.values), expected)


@pytest.mark.parametrize(("compression", "predictor"), [
    *((name, False) for name in ("jpeg2000", "lerc", "jpegxl", "jpegxr", "png", "webp")),
    ("packbits", True), ("lerc", True),
])  # fmt: skip
def test_tiff_compressions_that_pillow_cannot_read(compression, predictor, tmp_path):
    path, read = tmp_path / "x.tif", 0
    ramp = np.add.outer(np.arange(48), np.arange(64))
    for values in (ramp.astype(np.uint8), np.uint16(30 * ramp), np.stack([np.uint8(ramp)] * 3, 2)):
        colour = "rgb" if values.ndim == 3 else "minisblack"
        if compression == "webp" and colour != "rgb":
            continue  # it has no grey
        tiff(path, values, photometric=colour, compression=compression, predictor=predictor)
        expected = pytest.importorskip("tifffile").imread(path)
        np.testing.assert_array_equal(np.asarray(read_image(path).values), expected)
        read += 1
    assert read


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_kind_of_colour_tiff(dtype, tmp_path):
    path = tmp_path / "x.tif"
    values = np.random.default_rng(0).integers(0, 120, (24, 32, 4)).astype(dtype)
    if dtype == "uint16":
        values *= 300
    for order, planar, compression, channels in itertools.product(
        "<>", ("contig", "separate"), (None, "zlib"), (3, 4)
    ):
        planes = values[..., :channels].copy()
        if channels == 4:
            planes[..., 3] = 1
        tiff(
            path,
            planes if planar == "contig" else planes.transpose(2, 0, 1),
            photometric="rgb", planarconfig=planar, compression=compression, byteorder=order,
            extrasamples=["unassalpha"] if channels == 4 else None,
        )  # fmt: skip
        np.testing.assert_array_equal(stored_values(path), planes[..., :3])


def test_white_is_zero_in_16_bits(tmp_path):
    for name, photometric in (("black", "minisblack"), ("white", "miniswhite")):
        content = encoded_tiff(np.uint16(RAMP * 65), photometric=photometric)
        root = write_folder(tmp_path / name, lambda number, content=content: content)
        image = read_folder(root).train.pixels[0, 0].numpy()
        expected = RAMP * 65 >> 4
        np.testing.assert_array_equal(image, expected if name == "black" else 255 - expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_tiffs_are_turned_upright(orientation, dtype, tmp_path):
    upright = RAMP[:, :5].astype(dtype)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    path = tmp_path / "x.tif"
    tag = (274, "H", 1, orientation, True)
    tiff(path, np.ascontiguousarray(stored), extratags=[tag], photometric="minisblack")
    np.testing.assert_array_equal(stored_values(path), upright)


def test_without_tifffile_a_file_that_needs_it_is_named(tmp_path, monkeypatch):
    planes = np.random.default_rng(0).integers(0, 60000, (3, SIDE, SIDE)).astype(np.uint16)
    content = encoded_tiff(planes, photometric="rgb", planarconfig="separate")
    root = write_folder(tmp_path, lambda number: content)
    assert read_folder(root).spec_fields["channels"] == 3
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError) as error:
        read_folder(root)
    line = str(error.value)
    assert "000.tif" in line and "plane by plane" in line and "pip install --group formats" in line
    assert "\n" not in line


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_tiff_is_named(compression, tmp_path, capfd):
    path = tmp_path / "x.tif"
    noise = np.random.default_rng(0).integers(0, 60000, (64, 64, 3), np.uint16)
    tiff(path, noise, photometric="rgb", compression=compression, rowsperstrip=8)
    content = path.read_bytes()
    for share in (0.9, 0.5, 0.2):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UnreadableImage, match=r"\w"):
            read_image(path)
    path.write_bytes(content.replace(struct.pack("<HH", 273, 4), struct.pack("<HH", 65000, 4)))
    with pytest.raises(UnreadableImage, match="damaged"):  # where the pixels are is not said
        read_image(path)
    assert capfd.readouterr().err == ""


# ---- Pages, frames and bands


def frames_of(kind, path):
    frames = [np.full((SIDE, SIDE), level, np.uint8) for level in (10, 60, 230)]
    if kind == "bands":
        tiff(path, np.stack([*frames, *frames[:2]]), photometric="minisblack",
             planarconfig="separate")  # fmt: skip
    elif kind == "16 bits":
        tiff(path, np.stack(frames).astype(np.uint16) * 16, photometric="minisblack")
    else:
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, kind, save_all=True, append_images=images[1:])


@pytest.mark.parametrize(
    "kind, mean", [("GIF", 100), ("TIFF", 100), ("PNG", 100), ("16 bits", 1600), ("bands", 74)]
)
def test_several_pages(kind, mean, tmp_path):
    path, factor = tmp_path / "x.image", 16 if kind == "16 bits" else 1
    frames_of(kind, path)
    for page, expected in (("first", 10 * factor), ("mean", mean), ("max", 230 * factor)):
        image = read_image(path, page)
        assert image.has_several_pages
        assert np.unique(np.asarray(image.values)).tolist() == [expected], page


def test_files_with_several_pages_are_counted(tmp_path):
    frames_of("TIFF", tmp_path / "stack.tif")
    content = (tmp_path / "stack.tif").read_bytes()
    flat = encoded(Image.fromarray(np.uint8(RAMP)), "tif")
    root = write_folder(tmp_path / "f", lambda number: (content, "tif") if number < 3 else flat)
    (line,) = warnings_with("3 of 24", read_folder(root))
    assert "000.tif" in line and "first" in line and "--page" in line
    (line,) = warnings_with("3 of 24", read_folder(root, page="mean"))
    assert "mean" in line


def test_smaller_copies_of_a_page_are_not_pages(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(np.uint8(RAMP), photometric="minisblack")
        writer.write(np.uint8(RAMP[::2, ::2]), photometric="minisblack", subfiletype=1)
    assert not read_image(tmp_path / "x.tif").has_several_pages


# ---- Formats

WRITTEN_BY_PILLOW = {
    "png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "mpo": "MPO",
    "jp2": "JPEG2000", "j2k": "JPEG2000", "gif": "GIF", "tif": "TIFF", "tiff": "TIFF",
    "webp": "WEBP", "bmp": "BMP", "dib": "DIB", "ppm": "PPM", "pgm": "PPM", "pbm": "PPM",
    "pnm": "PPM", "avif": "AVIF", "ico": "ICO", "pcx": "PCX", "tga": "TGA", "JPG": "JPEG",
    "qoi": "QOI",
}  # fmt: skip


@pytest.mark.parametrize("extension", WRITTEN_BY_PILLOW)
def test_every_format_that_pillow_reads(extension, tmp_path):
    name = WRITTEN_BY_PILLOW[extension]
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {name}")
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:, 16:] = (250, 240, 10)
    mode = {"pgm": "L", "pbm": "1"}.get(extension, "RGB")
    path = tmp_path / f"x.{extension}"
    Image.fromarray(colours).convert(mode).save(path, name)
    image = fit_image(read_image(path), 32).planes
    assert image[0, 16, 24] > 210 and image[0, 16, 4] < 20
    assert extension.lower() in IMAGE_EXTENSIONS


def test_a_format_that_starts_a_program_is_never_opened(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript."""
    mark = tmp_path / "started"
    (tmp_path / "bin").mkdir()
    for program in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / program).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (tmp_path / "bin" / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + os.environ["PATH"])
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    stored = {"EPS": eps, "PDF": b"%PDF-1.4\n", "PSD": b"8BPS\0\1", "SVG": b"<svg></svg>"}
    for name, content in stored.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match=name):
            read_image(path)
        with pytest.raises(UnreadableImage, match=name):
            decode_without_scale(path, 8, True)
    assert not mark.exists()


def test_heic(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(np.full((32, 32, 3), (200, 60, 10), np.uint8))
    pillow_heif.from_pillow(image).save(tmp_path / "x.heic")
    colour = np.asarray(read_image(tmp_path / "x.heic").values)[16, 16].astype(int)
    assert abs(colour - (200, 60, 10)).max() < 8
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match=r"HEIC.*pip install --group formats"):
        read_image(tmp_path / "x.heic")


def write_dicom(path, values, photometric="MONOCHROME2", slope=1, intercept=0):
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    if values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
    dataset.PixelData = values.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_dicom(tmp_path, monkeypatch):
    path = tmp_path / "x.dcm"
    write_dicom(path, np.uint16(RAMP * 20), intercept=-1024)
    image = read_image(path)
    np.testing.assert_array_equal(image.values, RAMP * 20 - 1024)
    assert not image.is_white_zero and not image.has_several_pages
    write_dicom(path, np.int16(RAMP - 9), "MONOCHROME1", slope=0.5)
    assert read_image(path).is_white_zero
    np.testing.assert_array_equal(stored_values(path), (RAMP - 9) * 0.5)
    write_dicom(path, np.stack([np.uint16(RAMP), np.uint16(RAMP * 3)]))
    assert read_image(path).has_several_pages
    np.testing.assert_array_equal(stored_values(path), RAMP)
    np.testing.assert_array_equal(stored_values(path, "mean"), RAMP * 2)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UnreadableImage, match=r"DICOM.*pip install --group formats"):
        read_image(path)


def test_a_folder_of_dicom_files(tmp_path):
    def make(number):
        write_dicom(tmp_path / "x.dcm", np.int16(RAMP * 16 + number), intercept=-1000)
        return (tmp_path / "x.dcm").read_bytes(), "dcm"

    loaded = read_folder(write_folder(tmp_path / "f", make))
    assert "-1000" in loaded.warnings[0]
    np.testing.assert_allclose(loaded.train.pixels[0, 0], RAMP * 16 * 255 / (63 * 16 + 23), atol=1)


# ---- 8 bits without transparency: as ever


def test_images_of_8_bits_are_as_before(tmp_path):
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(256, size=(21, 34, 3), dtype=np.uint8))
    versions = {
        "rgb.png": colours, "grey.png": colours.convert("L"), "bits.png": colours.convert("1"),
        "palette.png": colours.quantize(20), "ycc.jpg": colours, "x.webp": colours,
        "cmyk.jpg": colours.convert("CMYK"), "cmyk.tif": colours.convert("CMYK"),
        "bits.tif": colours.convert("1"), "grey.bmp": colours.convert("L"),
        "palette.gif": colours.quantize(9), "x.ppm": colours, "x.pbm": colours.convert("1"),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image in versions.items():
        image.save(tmp_path / name, exif=exif if name == "rgb.png" else b"")
        for size in (21, 8, 40):
            for grey in (False, True):
                before = decode_without_scale(tmp_path / name, size, grey)
                now = fit_image(read_image(tmp_path / name, grey=grey), size).planes
                np.testing.assert_array_equal(now, before, err_msg=f"{name} {size} {grey}")


def test_a_wrong_guess_of_the_side_is_corrected(tmp_path):
    """The headers of the first of every few files are all of another size than most."""
    count = 4 * 50

    def make(number):
        side = 12 if number % 4 == 0 else 9
        return Image.fromarray(np.uint8(np.resize(RAMP * 4, (side, side))))

    root = write_folder(tmp_path, make, count // 4)
    paths = sorted(root.rglob("*.png"))
    files = decoded_cache.DecodeSettings()
    assert decoded_cache.sample_side(paths, 50) == 12
    pixels = decoded_cache.load_or_decode(paths, files, None).pixels[:]
    again = decoded_cache.load_or_decode(paths, files._replace(size=9), None).pixels[:]
    assert pixels.shape == (count, 1, 9, 9) and torch.equal(pixels, again)


def test_the_cache_knows_the_scale(tmp_path, capsys):
    cache = str(tmp_path / "cache")
    root = write_folder(tmp_path / "f", lambda number: Image.fromarray(np.uint16(RAMP * 65)))
    first = read_folder(root, cache=cache)
    second = read_folder(root, cache=cache)
    assert first.warnings == second.warnings and first.value_scales == second.value_scales
    assert first.fingerprint == second.fingerprint
    other = read_folder(root, "0,8190", cache=cache)
    assert other.fingerprint != first.fingerprint
    read_folder(root, page="max", cache=cache)
    entries = list((tmp_path / "cache").glob("*/meta.json"))
    assert len(entries) == 3 and all("scales" in json.loads(e.read_text()) for e in entries)
