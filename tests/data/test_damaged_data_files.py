"""Damaged data sets, splits, caches and archives are refused in one line, or read correctly."""

import functools
import gzip
import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data import DATASETS, arrays, decoded_cache, feature_files, features, splits
from data.custom import FlipOptions, ValueOptions
from data.decoded_cache import DecodeSettings
from data.download.checksums import MD5_CACHE_FILE, file_statuses
from data.download.unpack import unpack_archive
from data.feature_images import FileImages
from data.features import FeatureOptions
from data.image_decoding import read_image
from data.image_formats import UnreadableImage, ignore_warnings
from tests.archives import WRITERS
from tests.damage import Reader, damaged, files_below, read_damaged
from tests.examples import examples
from utils.lease import Lease

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(256, size=(24, 6, 6), dtype=np.uint8)
ROWS = RNG.normal(size=(24, 3)).astype(np.float32)
LABELS = np.arange(24) % 3
NAMES = np.array([f"{number}.png" for number in range(24)])
COLUMNS = {"images": PIXELS, "labels": LABELS, "test_images": PIXELS[:6], "test_labels": LABELS[:6]}
VECTORS = {"features": ROWS, "labels": LABELS, "paths": NAMES, "class_names": np.array([*"abc"])}


def check_loaded(loaded):
    """Images or features and labels fit together, and every label is a class."""
    for part in (loaded.train, loaded.test, *([loaded.validation] if loaded.validation else [])):
        content, labels = part
        assert len(content) == len(labels) and labels.ndim == 1
        count = len(loaded.class_names) or 10
        assert len(labels) == 0 or (labels.min() >= -1 and labels.max() < count)
        assert content[:].dtype == (torch.float32 if content.ndim == 2 else torch.uint8)
        assert bool(torch.isfinite(content[:].float()).all())


def load_arrays(path):
    return arrays.load(str(path), flip=FlipOptions(flip=False), values=ValueOptions())


def load_features(path):
    return features.load(str(path), files=FeatureOptions())


# ---- Files of arrays


def npz(columns):
    file = io.BytesIO()
    np.savez(file, **columns)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def folder_of(columns):
    return {f"{name}.npy": npy(array) for name, array in columns.items()}


def mat(columns):
    file = io.BytesIO()
    scipy.io.savemat(file, columns)
    return file.getvalue()


def hdf5(columns):
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        for name, array in columns.items():
            content[name] = array
    return file.getvalue()


def safetensors(columns):
    save = pytest.importorskip("safetensors.numpy").save
    return save(columns)


def parquet(columns):
    pyarrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    plain = {name: list(array) if array.ndim == 2 else array for name, array in columns.items()}
    file = io.BytesIO()
    tables.write_table(pyarrow.table(plain), file, compression="none")
    return file.getvalue()


NUMBERS = {name: VECTORS[name] for name in ("features", "labels")}
FILES_OF_ARRAYS = {
    "images.npz": lambda: (npz(COLUMNS), load_arrays),
    "images.mat": lambda: (mat(COLUMNS), load_arrays),
    "images.h5": lambda: (hdf5(COLUMNS), load_arrays),
    "images.safetensors": lambda: (safetensors(COLUMNS), load_arrays),
    "features.npz": lambda: (npz(VECTORS), load_features),
    "features.parquet": lambda: (parquet(NUMBERS), load_features),
    "features.safetensors": lambda: (safetensors(NUMBERS), load_features),
}


@functools.cache
def file_of_arrays(name):
    content, load = FILES_OF_ARRAYS[name]()
    return Reader({name: content}, lambda folder: load(folder / name), check_loaded)


@pytest.mark.parametrize("name", FILES_OF_ARRAYS)
@examples(25)
@given(data=st.data())
def test_files_of_arrays(name, data):
    read_damaged(file_of_arrays(name), data)


DESCRIPTION = {
    "key": {"encoder": {"name": "e"}, "images": "i"},
    "inputs": "0123",
    "stamp": "s",
    "unreadable": {"": {}},
    "image_folder": "/nowhere",
    "batch_size": 4,
    "counts": {"train": 24},
    "value_scales": {},
    "page": "first",
}
FOLDERS_OF_ARRAYS = {
    "images": (folder_of(COLUMNS), load_arrays),
    "features": (
        folder_of({**VECTORS, "val_features": ROWS[:6], "val_labels": LABELS[:6]})
        | {"encoding.json": json.dumps(DESCRIPTION).encode()},
        load_features,
    ),
}


@pytest.mark.parametrize("name", FOLDERS_OF_ARRAYS)
@examples(60)
@given(data=st.data())
def test_folders_of_arrays(name, data):
    """Without checksums: what is damaged may well be numbers, and these are checked."""
    files, load = FOLDERS_OF_ARRAYS[name]
    read_damaged(Reader(files, load, check_loaded), data)


# ---- Published data sets


@functools.cache
def published_files(name):
    with tempfile.TemporaryDirectory() as folder:
        WRITERS[name](Path(folder))
        return files_below(Path(folder))


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar10", "cifar100"])
@examples(25)
@given(data=st.data())
def test_published_data_sets(name, data):
    """idx files, MATLAB files and pickles; their MD5 would tell, but only warns."""

    def load(folder):
        return DATASETS[name].load(str(folder))

    def check(parts):
        for pixels, labels in parts:
            assert len(pixels) == len(labels) and len(labels)
            assert labels.min() >= 0 and labels.max() < DATASETS[name].num_classes

    read_damaged(Reader(published_files(name), load, check), data)


# ---- Images


def encoded(kind, mode="RGB", **settings):
    file = io.BytesIO()
    Image.fromarray(PIXELS[:3].transpose(1, 2, 0)).convert(mode).save(file, kind, **settings)
    return file.getvalue()


IMAGES = {
    "a.png": lambda: encoded("PNG"),
    "palette.png": lambda: encoded("PNG", "P", transparency=3),
    "a.jpg": lambda: encoded("JPEG"),
    "a.gif": lambda: encoded("GIF", "P"),
    "a.tif": lambda: encoded("TIFF"),
    "packed.tif": lambda: encoded("TIFF", compression="tiff_lzw"),
    "a.webp": lambda: encoded("WEBP"),
    "a.bmp": lambda: encoded("BMP"),
    "a.ppm": lambda: encoded("PPM"),
    "a.jp2": lambda: encoded("JPEG2000"),
    "a.tga": lambda: encoded("TGA"),
    "a.ico": lambda: encoded("ICO"),
    "a.pcx": lambda: encoded("PCX"),
    "a.dcm": lambda: dicom(),
    "a.heic": lambda: heic(),
}


def dicom():
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    content = pydicom.dataset.Dataset()
    content.file_meta = meta
    content.SOPClassUID, content.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    content.Rows = content.Columns = 6
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation = 7, 0
    content.PixelData = PIXELS[0].tobytes()
    file = io.BytesIO()
    content.save_as(file, enforce_file_format=True)
    return file.getvalue()


def heic():
    pytest.importorskip("pillow_heif").register_heif_opener()
    file = io.BytesIO()
    Image.fromarray(np.tile(PIXELS[0], (12, 12))).save(file, "HEIF")
    return file.getvalue()


@functools.cache
def image_content(name):
    return IMAGES[name]()


@pytest.mark.parametrize("name", IMAGES)
@examples(25)
@given(data=st.data())
def test_images(name, data):
    def read(folder):
        with ignore_warnings():
            pages = [read_image(folder / name, page) for page in ("first", "max")]
        return *pages, FileImages([str(folder / name)])[np.array([0])]

    def check(found):
        first, _, shown = found
        assert min(first.shape) > 0 and shown.shape == (1, 3, 96, 96)

    read_damaged(Reader({name: image_content(name)}, read, check, errors=(UnreadableImage,)), data)


@functools.cache
def cached_images():
    """A cache of two images: the files of its entry, and the paths of the images."""
    folder = Path(tempfile.mkdtemp())
    paths = []
    for number in range(2):
        paths.append(folder / f"{number}.png")
        Image.fromarray(PIXELS[number]).save(paths[-1])
    decoded = decoded_cache.load_or_decode(paths, DecodeSettings(), str(folder / "cache"))
    files = files_below(folder / "cache")
    return paths, {name: text for name, text in files.items() if ".lease" not in name}, decoded


@examples(60)
@given(data=st.data())
def test_a_cache_of_images_is_right_or_written_again(data):
    paths, files, expected = cached_images()

    def read(folder):
        return decoded_cache.load_or_decode(paths, DecodeSettings(), str(folder))

    def check(decoded):
        torch.testing.assert_close(decoded.pixels[:], expected.pixels[:], rtol=0, atol=0)

    read_damaged(Reader(files, read, check), data)


# ---- Splits, descriptions and checksums


@examples(60)
@given(data=st.data())
def test_split_files(data):
    text = splits.format_split(np.arange(6), LABELS[:6]).encode()

    def read(folder):
        return splits.read_split(folder / "0.txt", LABELS, 3, 6)

    def check(chosen):
        assert len(set(chosen.tolist())) == 6 and chosen.min() >= 0 and chosen.max() < 24

    read_damaged(Reader({"0.txt": text}, read, check), data)


@examples(40)
@given(data=st.data())
def test_progress_of_an_encoding(data):
    key = DESCRIPTION["key"]
    progress = {
        "key": key,
        "batch_size": 4,
        "shards": {"": {"0": ["stamp", "digest", {"3": "not an image"}]}},
    }

    def read(folder):
        with Lease(folder, "encoding") as lease:
            return feature_files._Progress.open(folder, key, 4, lease)

    def check(opened):
        assert opened.batch_size > 0 and opened.shard_images > 0
        for shards in opened.shards.values():
            assert all(start >= 0 for start in shards)
        assert all(position >= 0 for position in opened.unreadable(""))

    read_damaged(Reader({"progress.json": json.dumps(progress).encode()}, read, check), data)


@examples(40)
@given(data=st.data())
def test_description_of_an_encoding(data):
    key = DESCRIPTION["key"]

    def read(folder):
        return feature_files._find_complete(folder, key, "s")

    def check(description):
        assert description["key"] == key

    files = {"encoding.json": json.dumps(DESCRIPTION).encode()}
    read_damaged(Reader(files, read, check), data)


@examples(25)
@given(data=st.data())
def test_stored_checksums(data):
    """A damaged entry is computed again."""
    published = {"set/a": "0cc175b9c0f1b6a831c399e269772661"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "set").mkdir()
        Path(folder, "set", "a").write_bytes(b"a")
        file_statuses(folder, published)
        cache = Path(folder, "set", MD5_CACHE_FILE).read_bytes()

    def read(folder):
        return file_statuses(str(folder), published)

    reader = Reader({f"set/{MD5_CACHE_FILE}": cache}, read, others={"set/a": b"a"})
    read_damaged(reader, data)


# ---- Archives


def tar_gz():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in ("set/a", "set/b"):
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"hello"))
    return file.getvalue()


@pytest.mark.parametrize("name", ["set.tar.gz", "file.gz"])
@examples(25)
@given(data=st.data())
def test_archives(name, data):
    content = tar_gz() if name == "set.tar.gz" else gzip.compress(b"hello" * 100)
    if name == "set.tar.gz" and data.draw(st.booleans()):
        # In the tar file, so that no checksum of gzip tells.
        content = gzip.compress(data.draw(damaged(gzip.decompress(content))))

    def read(folder):
        return folder, unpack_archive(folder / name, folder / "into")

    def check(unpacked):
        folder, names = unpacked
        assert all((folder / "into" / one).resolve().is_relative_to(folder) for one in names)

    read_damaged(Reader({name: content}, read, check), data)
