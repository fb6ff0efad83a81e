"""Data are checked when they are read: each fault is one line, and nothing is written."""

import dataclasses
import hashlib
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

import main_al
from data import DATASETS, cifar, generate_splits
from data.cifar_pickle import load_pickled_batch
from data.download.install import install_dataset
from data.images import check_images, data_fingerprint
from data.spec import DatasetSpec
from tests.archives import WRITERS
from tests.conftest import ROOT
from tests.fake_server import serving
from utils.errors import UserError

SHORT = [
    *("--al-budget", "10", "--al-nb-cycles", "1", "--epochs", "1"),
    *("--arch", "small_cnn", "--device", "cpu"),
]
CIFAR10, CIFAR100 = "cifar-10-batches-py", "cifar-100-python"
MNIST = "MNIST/raw/train-{}-ubyte"


@pytest.fixture
def root(tmp_path, archives):
    """A copy of the archives that a test may damage."""
    return shutil.copytree(archives, tmp_path / "downloads")


@pytest.fixture
def refuse(root, capsys, monkeypatch, home):
    """Run main_al on the damaged archives; -> the line of its error."""
    monkeypatch.chdir(root.parent)

    def run(name, *words):
        before = sorted([*root.parent.rglob("*"), *home.rglob("*")])
        status = main_al.main(["--dataset", name, "--data-root", "downloads", *SHORT, *words])
        line = capsys.readouterr().err
        assert status == 2 and line.startswith("main_al.py: error: ") and line.count("\n") == 1
        assert sorted([*root.parent.rglob("*"), *home.rglob("*")]) == before
        return line.replace(str(root), "downloads")

    return run


def change_batch(name, key, change):
    def damage(root):
        path = root / name
        batch = pickle.loads(path.read_bytes())
        batch[key] = change(batch[key])
        path.write_bytes(pickle.dumps(batch, protocol=2))

    return damage


def change_mat(key, change):
    def damage(root):
        path = root / "SVHN" / "train_32x32.mat"
        arrays = scipy.io.loadmat(path, variable_names=("X", "y"))
        scipy.io.savemat(path, {**{k: arrays[k] for k in ("X", "y")}, key: change(arrays[key])})

    return damage


def change_idx(kind, change):
    def damage(root):
        path = root / MNIST.format(kind)
        path.write_bytes(change(path.read_bytes()))

    return damage


def replace_at(place, value):
    """Replace one value of a list or array, with a type that can hold it."""

    def change(values):
        values = np.array(values, dtype=np.result_type(np.asarray(values), type(value)))
        values[place] = value
        return values

    return change


def replace_in_list(place, value):
    return lambda values: replace_at(place, value)(values).tolist()


LABELS = "labels"
DAMAGES = [
    ("cifar10", change_batch(f"{CIFAR10}/data_batch_2", LABELS, replace_in_list(3, -1)),
     ("label 3 of downloads/cifar-10-batches-py/data_batch_2 is -1", "class 0 .. 9")),
    ("cifar10", change_batch(f"{CIFAR10}/data_batch_1", LABELS, replace_in_list(3, 1.5)),
     ("label 3 of downloads/cifar-10-batches-py/data_batch_1 is 1.5", "class 0 .. 9")),
    ("cifar10", change_batch(f"{CIFAR10}/test_batch", LABELS, replace_in_list(19, 77)),
     ("label 19 of downloads/cifar-10-batches-py/test_batch is 77", "class 0 .. 9")),
    ("cifar100", change_batch(f"{CIFAR100}/test", "fine_labels", replace_in_list(0, 100)),
     ("label 0 of downloads/cifar-100-python/test is 100", "class 0 .. 99")),
    ("cifar10", change_batch(f"{CIFAR10}/test_batch", LABELS, lambda labels: ["cat"] * len(labels)),
     ("labels of downloads/cifar-10-batches-py/test_batch", "type <U3", "class 0 .. 9")),
    ("cifar10", change_batch(f"{CIFAR10}/test_batch", LABELS, lambda labels: [[1], [2, 3]]),
     ("labels of downloads/cifar-10-batches-py/test_batch", "one number per image")),
    ("cifar10", change_batch(f"{CIFAR10}/data_batch_4", LABELS, lambda labels: labels[1:]),
     ("downloads/cifar-10-batches-py/data_batch_4", "12 images", "11 labels")),
    ("cifar10", change_batch(f"{CIFAR10}/data_batch_4", "data", lambda pixels: pixels[:, 1:]),
     ("images of downloads/cifar-10-batches-py/data_batch_4", "(12, 3071)", "(N, 3, 32, 32)")),
    ("cifar10", change_batch(f"{CIFAR10}/data_batch_5", "data",
                             lambda pixels: pixels.reshape(-1, 32, 32, 3)),
     ("downloads/cifar-10-batches-py/data_batch_5", "(12, 32, 32, 3)", "(N, 3, 32, 32)")),
    ("cifar100", change_batch(f"{CIFAR100}/train", "data", lambda pixels: pixels / 255),
     ("image 0 of downloads/cifar-100-python/train has a pixel of 0.",)),
    ("cifar100", change_batch(f"{CIFAR100}/train", "data", lambda pixels: np.float32(pixels > 99)),
     ("pixels of downloads/cifar-100-python/train is 1.0", "multiply them by 255")),
    ("cifar100", change_batch(f"{CIFAR100}/train", "data", replace_at((17, 5), float("nan"))),
     ("image 17 of downloads/cifar-100-python/train has a pixel of nan", "whole number")),
    ("cifar100", change_batch(f"{CIFAR100}/train", "data", replace_at((17, 5), 256)),
     ("image 17 of downloads/cifar-100-python/train has a pixel of 256", "whole number")),
    ("svhn", change_mat("y", replace_at((3, 0), -3)),
     ("label 3 of downloads/SVHN/train_32x32.mat is -3", "class 0 .. 9")),
    ("svhn", change_mat("y", replace_at((3, 0), float("nan"))),
     ("label 3 of downloads/SVHN/train_32x32.mat is nan", "class 0 .. 9")),
    ("svhn", change_mat("y", lambda labels: labels[:-1]),
     ("downloads/SVHN/train_32x32.mat", "60 images", "59 labels")),
    ("svhn", change_mat("X", lambda pixels: pixels / 255),
     ("image 0 of downloads/SVHN/train_32x32.mat has a pixel of 0.",)),
    ("svhn", change_mat("X", lambda pixels: pixels[..., 0]),
     ("images of downloads/SVHN/train_32x32.mat", "(32, 32, 3)", "(N, 3, 32, 32)")),
    ("svhn", change_mat("X", lambda pixels: "none"),
     ("images of downloads/SVHN/train_32x32.mat", "(1,)", "(N, 3, 32, 32)")),
    ("mnist", change_idx("images-idx3", lambda content:
                         struct.pack(">4I", 2051, 60, 14, 56) + content[16:]),
     ("images of downloads/MNIST/raw/train-images-idx3-ubyte", "(60, 1, 14, 56)",
      "(N, 1, 28, 28)")),
    ("mnist", change_idx("images-idx3", lambda content:
                         struct.pack(">4I", 2051, 59, 28, 28) + content[16:-784]),
     ("train-images-idx3-ubyte and downloads/MNIST/raw/train-labels-idx1-ubyte", "59 images",
      "60 labels")),
    ("mnist", change_idx("images-idx3", lambda content: content + b"\0"),
     ("train-images-idx3-ubyte has 47041 bytes", "[60, 28, 28]")),
    ("mnist", change_idx("labels-idx1", lambda content: b"\0\0\x0d\1" + content[4:]),
     ("train-labels-idx1-ubyte is not a 1-dimensional idx file",)),
    ("mnist", change_idx("labels-idx1", lambda content: content[:-1] + b"\x0a"),
     ("label 59 of downloads/MNIST/raw/train-labels-idx1-ubyte is 10", "class 0 .. 9")),
]  # fmt: skip


@pytest.mark.parametrize("name, damage, expected", DAMAGES)
def test_damaged_data_are_refused_in_one_line(name, damage, expected, root, refuse):
    damage(root)
    line = refuse(name)
    assert all(part in line for part in expected), line


@pytest.mark.parametrize(
    "pixels, labels, expected",
    [
        (np.zeros((2, 1, 4, 4)), [0, 1], ("0.0", "multiply them by 255")),
        (np.full((2, 1, 4, 4), -1), [0, 1], ("image 0", "pixel of -1", "whole number")),
        (np.full((2, 1, 4, 4), np.inf), [0, 1], ("image 0", "pixel of inf")),
        (np.ones((2, 1, 4, 4), bool), [0, 1], ("pixels", "type bool")),
        (np.ones((2, 4, 4), np.uint8), [0, 1], ("(2, 4, 4)", "(N, channels, height, width)")),
        (np.ones((2, 1, 4, 4), np.uint8), [0, -1], ("label 1", "is -1", "whole number")),
        (np.ones((2, 1, 4, 4), np.uint8), [0, 2**64], ("labels", "type object")),
        (np.ones((2, 1, 4, 4), np.uint8), [[0], [1]], ("labels", "one number per image")),
        (np.ones((0, 1, 4, 4), np.uint8), [], ("0 images", "0 labels")),
    ],
)
def test_check_images_refuses_invalid_arrays(pixels, labels, expected):
    with pytest.raises(UserError) as error:
        check_images(pixels, labels, "mine")
    assert all(part in str(error.value) for part in ("mine", *expected))


def test_whole_numbers_of_any_type_are_accepted():
    for dtype in (np.uint8, np.int64, np.float64, ">f4"):
        pixels = np.array([0, 255, 3, 9]).reshape(1, 1, 2, 2).astype(dtype)
        images = check_images(pixels, np.array([7], dtype=">i2"))
        assert images.pixels.dtype == torch.uint8 and images.labels.dtype == np.dtype(np.int64)
        assert images.pixels.flatten().tolist() == [0, 255, 3, 9] and images.labels.tolist() == [7]


@pytest.mark.parametrize(
    "part, expected",
    [
        (check_images(np.ones((2, 1, 8, 9), np.uint8), [0, 1]), "(2, 1, 8, 9), not (N, 1, 8, 8)"),
        (
            check_images(np.ones((2, 1, 8, 8), np.uint8), [0, 2]),
            "label 1 of the test part is 2, not",
        ),
    ],
)
def test_images_must_fit_the_spec_of_their_data_set(part, expected):
    """A reader does not know the spec; load_and_check does."""
    good = check_images(np.ones((2, 1, 8, 8), np.uint8), [0, 1])
    spec = DatasetSpec(lambda root: (good, part), 2, channels=1, size=8, max_shift=0, flip=False)
    with pytest.raises(UserError) as error:
        spec.load_and_check("")
    assert expected in str(error.value)


def test_generator_checks_the_data(root, capsys):
    change_batch(f"{CIFAR10}/data_batch_2", "labels", replace_in_list(3, 77))(root)
    assert generate_splits.main(["--dataset", "cifar10", "--data-root", str(root)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"label 3 of {root / CIFAR10 / 'data_batch_2'} is 77" in line


@pytest.mark.parametrize("name, digest", [
    ("digits", "71cd56367e7dabc0"), ("mnist", "4b1ff0c059939a25"),
    ("fashion_mnist", "4b1ff0c059939a25"),
    ("svhn", "b88d1ff58ed7a994"),
    ("cifar10", "b88d1ff58ed7a994"), ("cifar100", "b88d1ff58ed7a994"),
])  # fmt: skip
def test_fingerprints_never_change(name, digest, archives):
    """Otherwise runs and splits would lose their folders."""
    assert data_fingerprint(*DATASETS[name].load_and_check(str(archives))[:2]) == digest


def test_starting_imports_neither_torchvision_nor_scipy_stats(archives):
    """They take half a second and seconds."""
    code = f"""import sys
import embed, labels, main_al, predict
print("scipy.stats" in sys.modules)
from data import DATASETS
for spec in DATASETS.values():
    if not spec.is_custom:
        spec.load_and_check({str(archives)!r})
print("torchvision" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\nFalse\n", done.stderr


def test_missing_file_is_named(root, refuse):
    (root / CIFAR10 / "data_batch_3").unlink()
    line = refuse("cifar10")
    assert "downloads/cifar-10-batches-py/data_batch_3" in line
    assert "`sh data/install_datasets.sh cifar10`" in line and "--data-root" in line


# ---- Pickles


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("position", ["batch", "data", "labels"])
@pytest.mark.parametrize(
    "name, file",
    [
        ("cifar10", f"{CIFAR10}/data_batch_1"),
        ("cifar10", f"{CIFAR10}/test_batch"),  # the training batches are valid
        ("cifar100", f"{CIFAR100}/train"),
    ],
)
def test_malicious_batch_runs_nothing(name, file, position, root, refuse):
    trap = root.parent / "touched"
    if position == "batch":
        (root / file).write_bytes(pickle.dumps(Touch(trap)))
    else:
        key = "fine_labels" if (name, position) == ("cifar100", "labels") else position
        change_batch(file, key, lambda _: Touch(trap))(root)
    line = refuse(name)
    assert not trap.exists()
    assert f"downloads/{file} cannot be read" in line and "it asks for posix.system" in line
    pickle.loads(pickle.dumps(Touch(trap)))  # plain pickle runs it
    assert trap.exists()


@pytest.mark.parametrize(
    "name, folder, meta", [("cifar10", CIFAR10, "batches.meta"), ("cifar100", CIFAR100, "meta")]
)
def test_malicious_meta_file_is_not_read(name, folder, meta, root):
    trap = root.parent / "touched"
    (root / folder / meta).write_bytes(pickle.dumps(Touch(trap)))
    DATASETS[name].load_and_check(str(root))
    assert not trap.exists()


STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def array_of_python_2(name: bytes, raw: bytes) -> bytes:
    """The opcodes of a one-dimensional array, as written by cPickle of Python 2."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"M" + struct.pack("<H", len(raw)) + b"\x85"
        + b"cnumpy\ndtype\nU" + bytes([len(name)]) + name + b"K\x00K\x01\x87R" + STATE
        + b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip


def test_batches_of_python_2(tmp_path):
    raw = bytes(range(256)) * 12
    pickled = b"\x80\x02}(U\x04data" + array_of_python_2(b"u1", raw)
    (tmp_path / "batch").write_bytes(pickled + b"U\x06labels](K\x03K\x09eu.")
    batch = load_pickled_batch(tmp_path / "batch")
    assert batch["data"].tolist() == list(raw) and batch["labels"] == [3, 9]
    np.testing.assert_array_equal(
        batch["data"], pickle.loads((tmp_path / "batch").read_bytes(), encoding="latin1")["data"]
    )


def test_arrays_in_any_order_and_type(tmp_path):
    arrays = {
        "F": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        "big": np.arange(6, dtype=">i4").reshape(3, 2),
        "float": np.linspace(0, 1, 5),
    }
    (tmp_path / "batch").write_bytes(pickle.dumps(arrays, protocol=2))
    for name, array in load_pickled_batch(tmp_path / "batch").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


@pytest.mark.parametrize(
    "content, expected",
    [
        # An array of objects whose dtype denies it: numpy would use its bytes as addresses.
        (b"\x80\x02}U\x01a" + array_of_python_2(b"O8", b"\x41" * 8) + b"s.", "not of numbers"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85R.", "it asks for builtins.eval"),
        # Other ways to name a function to call, in protocols 0 to 4.
        (b"(S'touch touched'\nios\nsystem\n.", "it asks for os.system"),
        (b"(cos\nsystem\nS'touch touched'\no.", "it asks for os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0dtouch touched\x85R.", "asks for os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "it asks for numpy.dtype.__init__"),
        (b"\x80\x02ccopyreg\n_reconstructor\n.", "it asks for copyreg._reconstructor"),
        (b"\x80\x02\x82\x01.", "unregistered extension code 1"),
        (b"Ptouched\n.", "persistent"),
        (b"\x80\x02c_codecs\nencode\nU\x011U\x03rot\x86R.", "bytes encoded as 'rot'"),
        (b"\x80\x02]U\x01a\x61.", "not contain a dict"),
        (b"", "Ran out of input"),
    ],
)  # fmt: skip
def test_forged_pickles(content, expected, tmp_path):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises((pickle.UnpicklingError, EOFError, ValueError), match=expected):
        load_pickled_batch(tmp_path / "batch")
    assert not Path("touched").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_installing_unpickles_nothing(name, tmp_path, monkeypatch):
    """Not even an archive with the name and MD5 that torchvision has."""
    import torchvision.datasets

    source, trap = tmp_path / "source", tmp_path / "touched"
    WRITERS[name](source)
    (folder,) = source.iterdir()
    forged = pickle.dumps(Touch(trap))
    for path in folder.iterdir():
        path.write_bytes(forged)
    reader = getattr(torchvision.datasets, name.upper())
    stem = reader.filename.removesuffix(".tar.gz")
    packed = Path(shutil.make_archive(tmp_path / stem, "gztar", source, folder.name)).read_bytes()
    monkeypatch.setattr(reader, "tgz_md5", hashlib.md5(packed).hexdigest())
    monkeypatch.setitem(cifar.ARCHIVE_BYTES, name, len(packed))
    published = dict.fromkeys(DATASETS[name].published_md5, hashlib.md5(forged).hexdigest())
    with serving({reader.filename: packed}) as server:
        monkeypatch.setattr(reader, "url", f"{server.url()}/{reader.filename}")
        spec = dataclasses.replace(DATASETS[name], published_md5=published)
        install_dataset(name, spec, str(tmp_path / "here"))
    assert any((tmp_path / "here" / folder.name).iterdir()) and not trap.exists()
