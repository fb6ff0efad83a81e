"""Arrays and features as other programs store them: every form and key is read, or refused."""

import numpy as np
import pytest
import torch

from data import DATASETS
from data.custom import FlipOptions, ValueOptions
from data.features import FeatureOptions
from data.value_scale import value_kind
from utils.errors import UserError

RNG = np.random.default_rng(0)
CLASSES = np.arange(60) % 3
IMAGES = RNG.integers(0, 256, (60, 8, 8)).astype(np.uint8)
IMAGES[0, 0, 0] = 255
FEATURES = RNG.normal(size=(60, 5)).astype(np.float32)


def read_arrays(path, value_range=None):
    return DATASETS["arrays"].load_and_check(
        str(path), flip=FlipOptions(False), values=ValueOptions(value_range)
    )


def read_features(path, images=None):
    return DATASETS["features"].load_and_check(str(path), files=FeatureOptions(images))


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def plain(tmp_path):
    return read_arrays(save(tmp_path / "plain.npz", images=IMAGES, labels=CLASSES))


def rows_of(loaded, part="train"):
    return loaded.row_numbers if part == "train" else loaded.test_row_numbers


# ---- Keys

PAIRS = [
    ("images", "labels"), ("X", "y"), ("data", "target"), ("x_train", "y_train"),
    ("train_images", "train_labels"), ("Images", "Labels"), ("image", "label"),
    ("arr_0", "arr_1"), ("pictures", "answers"),
]  # fmt: skip


@pytest.mark.parametrize("content, labels", PAIRS)
def test_keys_of_other_projects(content, labels, plain, tmp_path):
    loaded = read_arrays(save(tmp_path / "a.npz", **{content: IMAGES, labels: CLASSES[:, None]}))
    assert torch.equal(loaded.train.pixels, plain.train.pixels)
    np.testing.assert_array_equal(loaded.train.labels, plain.train.labels)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("images", "labels", "test_images", "test_labels"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
    ],
)
def test_parts_of_other_projects(names, tmp_path):
    arrays = (IMAGES[:40], CLASSES[:40], IMAGES[40:], CLASSES[40:])
    loaded = read_arrays(save(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True))))
    np.testing.assert_array_equal(loaded.train.pixels[:, 0], IMAGES[:40])
    np.testing.assert_array_equal(loaded.test.pixels[:, 0], IMAGES[40:])
    np.testing.assert_array_equal(loaded.test.labels, CLASSES[40:])
    assert loaded.row_numbers is None


def test_a_validation_part_beside_a_test_part_is_named(tmp_path):
    path = save(
        tmp_path / "a.npz", train_images=IMAGES[:30], train_labels=CLASSES[:30],
        val_images=IMAGES[30:45], val_labels=CLASSES[30:45],
        test_images=IMAGES[45:], test_labels=CLASSES[45:], something=np.ones(3),
    )  # fmt: skip
    loaded = read_arrays(path)
    assert any("val part (15 images) is not used" in line for line in loaded.warnings)
    assert any("not used: something (3,)" in line for line in loaded.warnings)


@pytest.mark.parametrize(
    "arrays, expected",
    [
        ({"a": IMAGES}, "no array images"),
        ({"a": IMAGES, "b": CLASSES, "c": CLASSES}, "no array images"),
        ({"images": IMAGES}, "no array labels"),
        ({"images": IMAGES, "labels": np.array([{}] * 60)}, "pickled objects"),
        ({"images": IMAGES, "labels": CLASSES, "test_images": IMAGES}, "no array test_labels"),
        ({"images": IMAGES, "labels": CLASSES[:50]}, "60 images but 50 labels"),
        ({"images": IMAGES * 0 + 7, "labels": CLASSES}, "identical"),
        ({"images": IMAGES, "labels": CLASSES, "paths": CLASSES[:9]}, "9 paths or ids"),
        ({"images": IMAGES, "labels": CLASSES, "class_names": ["a", "a", "b"]}, "twice"),
        ({"images": IMAGES, "labels": CLASSES, "class_names": ["a", "b"]}, "label 2 has no name"),
    ],
)
def test_what_is_not_clear_is_refused(arrays, expected, tmp_path):
    with pytest.raises(UserError, match=expected) as error:
        read_arrays(save(tmp_path / "a.npz", **arrays))
    assert "\n" not in str(error.value)


def test_pickled_arrays_that_nothing_needs_do_no_harm(tmp_path):
    path = save(tmp_path / "a.npz", images=IMAGES, labels=CLASSES, history=np.array([{}]))
    assert len(read_arrays(path).train.labels) > 40


# ---- Labels: as stored -> class numbers and names

LABELS = {
    "column": (CLASSES[:, None], CLASSES, ("0", "1", "2")),
    "row": (CLASSES[None], CLASSES, ("0", "1", "2")),
    "one-hot": (np.eye(3)[CLASSES], CLASSES, ("0", "1", "2")),
    "texts": (np.array(["no", "yes", "maybe"])[CLASSES], np.array([1, 2, 0])[CLASSES],
              ("maybe", "no", "yes")),
    "bytes": (np.array([b"a", b"b", b"c"])[CLASSES], CLASSES, ("a", "b", "c")),
    "booleans": (CLASSES > 0, (CLASSES > 0).astype(int), ("False", "True")),
    "from one": (CLASSES + 1, CLASSES, ("1", "2", "3")),
    "gaps": (CLASSES * 10, CLASSES, ("0", "10", "20")),
    "floats": (CLASSES.astype(float), CLASSES, ("0", "1", "2")),
    "bytes of 8 bits": (CLASSES.astype(np.uint8), CLASSES, ("0", "1", "2")),
    "NaN": (np.where(CLASSES == 2, np.nan, CLASSES), np.where(CLASSES == 2, -1, CLASSES),
            ("0", "1")),
    "minus one": (np.where(CLASSES == 2, -1, CLASSES), np.where(CLASSES == 2, -1, CLASSES),
                  ("0", "1")),
    "empty text": (np.array(["a", "b", ""])[CLASSES], np.where(CLASSES == 2, -1, CLASSES),
                   ("a", "b")),
    "rows of zeros": (np.eye(3)[CLASSES] * (np.arange(60) > 5)[:, None],
                      np.where(np.arange(60) > 5, CLASSES, -1), ("0", "1", "2")),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_other_projects(name, tmp_path):
    stored, numbers, names = LABELS[name]
    loaded = read_arrays(save(tmp_path / "a.npz", images=IMAGES, labels=stored))
    assert loaded.class_names == names
    labels = np.full(60, -9)
    labels[loaded.row_numbers], labels[loaded.test_row_numbers] = (
        loaded.train.labels,
        loaded.test.labels,
    )
    np.testing.assert_array_equal(labels, numbers)


@pytest.mark.parametrize(
    "labels, expected",
    [
        (CLASSES - 2, "label 0 of .* is -2"),
        (CLASSES / 2, "label 1 of .* is 0.5"),
        (np.where(CLASSES == 2, np.inf, CLASSES), "label 2 of .* is inf"),
        (np.ones((60, 3)), "row 0 is not one-hot"),
        (np.full((60, 3), 1 / 3), "row 0 is not one-hot"),
        (np.zeros((60, 2, 2)), "shape"),
        (CLASSES * 0, "1 class with"),
        (np.where(CLASSES > 0, 1, -1), "20 labels are -1 or missing, which means unknown"),
        (np.array(["cat", "Cat", "dog"])[CLASSES], "differ only by case"),
        (np.array(["cat", "cat ", "dog"])[CLASSES], "blanks"),
        (CLASSES * 1j, "complex"),
    ],
)
def test_odd_labels_are_refused(labels, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        read_arrays(save(tmp_path / "a.npz", images=IMAGES, labels=labels))


def test_class_names_of_the_file(tmp_path):
    for labels in (CLASSES, CLASSES + 1, np.array(["x", "y", "z"])[CLASSES]):
        path = save(tmp_path / "a.npz", images=IMAGES, labels=labels, class_names=["x", "y", "z"])
        assert read_arrays(path).class_names == ("x", "y", "z")
    path = save(tmp_path / "a.npz", images=IMAGES, labels=CLASSES % 2, class_names=["x", "y", "z"])
    assert read_arrays(path).class_names == ("x", "y", "z")  # nobody has z yet


# ---- Shapes and values of images


def all_pixels(loaded):
    pixels = np.empty((60, *loaded.train.pixels.shape[1:]), np.uint8)
    pixels[loaded.row_numbers], pixels[loaded.test_row_numbers] = (
        loaded.train.pixels, loaded.test.pixels,
    )  # fmt: skip
    return pixels


COLOUR = RNG.integers(0, 256, (60, 3, 8, 8)).astype(np.uint8)
SHAPES = {
    "channels first": (COLOUR, COLOUR),
    "channels last": (COLOUR.transpose(0, 2, 3, 1), COLOUR),
    "one channel first": (IMAGES[:, None], IMAGES[:, None]),
    "one channel last": (IMAGES[..., None], IMAGES[:, None]),
    "four channels first": (np.concatenate([COLOUR, COLOUR[:, :1]], 1),
                            np.concatenate([COLOUR, COLOUR[:, :1]], 1)),
    "five channels first": (COLOUR[:, [0, 1, 2, 0, 1]], COLOUR[:, [0, 1, 2, 0, 1]]),
    "five channels last": (COLOUR[:, [0, 1, 2, 0, 1]].transpose(0, 2, 3, 1),
                           COLOUR[:, [0, 1, 2, 0, 1]]),
    "MATLAB": (COLOUR.transpose(2, 3, 1, 0), COLOUR),
    "MATLAB grey": (IMAGES.transpose(1, 2, 0), IMAGES[:, None]),
    "wide": (np.pad(IMAGES, ((0, 0), (0, 0), (3, 3))), IMAGES[:, None]),
    "high": (np.pad(IMAGES, ((0, 0), (2, 3), (0, 0))), IMAGES[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_other_projects(name, tmp_path):
    stored, expected = SHAPES[name]
    loaded = read_arrays(save(tmp_path / "a.npz", images=stored, labels=CLASSES))
    np.testing.assert_array_equal(all_pixels(loaded), expected)


COUNTS = IMAGES // 16
VALUES = {
    "8 bits": (IMAGES, IMAGES, False),
    "counts 0 to 15": (COUNTS, np.round(COUNTS * 17.0), True),
    "counts in 64 bits": (COUNTS.astype(np.int64), np.round(COUNTS * 17.0), True),
    "masks": ((IMAGES > 99).astype(np.uint8), (IMAGES > 99) * 255, True),
    "booleans": (IMAGES > 99, (IMAGES > 99) * 255, True),
    "12 bits of 16": (IMAGES.astype(np.uint16) * 16, IMAGES, True),
    "16 bits": (IMAGES.astype(np.uint16) * 256, IMAGES, True),
    "floats to 1": (IMAGES / np.float32(255), IMAGES, True),
    "floats to 255": (IMAGES.astype(np.float32), IMAGES, True),
    "just above 1": (np.where(IMAGES == 255, 1.0000001, IMAGES / 255), IMAGES, True),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_one_scale_for_all_values(name, tmp_path):
    stored, expected, changed = VALUES[name]
    loaded = read_arrays(save(tmp_path / "a.npz", images=stored, labels=CLASSES))
    np.testing.assert_array_equal(all_pixels(loaded)[:, 0], expected)
    assert any("become 0 to 255" in line for line in loaded.warnings) == changed
    assert set(loaded.value_scales) == ({value_kind(stored.dtype)} if changed else set())


def test_the_scale_covers_the_test_part_too(tmp_path):
    path = save(
        tmp_path / "a.npz", images=COUNTS[:40], labels=CLASSES[:40],
        test_images=IMAGES[40:], test_labels=CLASSES[40:],
    )  # fmt: skip
    np.testing.assert_array_equal(read_arrays(path).train.pixels[:, 0], COUNTS[:40])


def test_a_given_range(tmp_path):
    path = save(tmp_path / "a.npz", images=IMAGES, labels=CLASSES)
    pixels = all_pixels(read_arrays(path, "0,510"))[:, 0]
    np.testing.assert_array_equal(pixels, np.round(IMAGES / 2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused_with_the_row(value, tmp_path):
    images = IMAGES / np.float32(255)
    images[57, 2, 2] = value
    with pytest.raises(UserError, match=r"image 57 of .* finite"):
        read_arrays(save(tmp_path / "a.npz", images=images, labels=CLASSES))


# ---- Features


def test_shapes_of_features(tmp_path):
    flat = read_features(save(tmp_path / "a.npz", features=FEATURES, labels=CLASSES))
    deep = np.repeat(FEATURES, 2, axis=1).reshape(60, 5, 2)
    loaded = read_features(save(tmp_path / "a.npz", features=deep, labels=CLASSES))
    assert loaded.train.features.shape[1] == 10
    turned = read_features(save(tmp_path / "a.npz", features=FEATURES.T, labels=CLASSES))
    assert torch.equal(turned.train.features, flat.train.features)
    with pytest.raises(UserError, match="features\\[:, None\\]"):
        read_features(save(tmp_path / "a.npz", features=FEATURES[:, 0], labels=CLASSES))
    with pytest.raises(UserError, match="the same"):
        read_features(save(tmp_path / "a.npz", features=FEATURES * 0 + 3, labels=CLASSES))
    half = FEATURES.astype(np.float16)
    half[57, 3] = np.inf
    with pytest.raises(UserError, match=r"row 57 .* float16"):
        read_features(save(tmp_path / "a.npz", features=half, labels=CLASSES))


# ---- Forms of files, by their own writers


def write_mat(path):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(path, {"features": FEATURES, "labels": CLASSES})


def write_mat73(path):
    """As MATLAB 7.3 does: HDF5, the axes in reverse order."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (("features", FEATURES), ("labels", CLASSES[:, None].astype(float))):
            file.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_("double")
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with open(path, "r+b") as file:
        file.write(head)


def write_hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["features"], file["labels"] = FEATURES, CLASSES


def write_safetensors(path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"features": FEATURES, "labels": CLASSES}, path)


def write_parquet(path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"embedding": list(FEATURES), "label": CLASSES}).to_parquet(path)


FORMS = {
    "a.mat": write_mat, "b.mat": write_mat73, "c.h5": write_hdf5, "d.hdf5": write_hdf5,
    "e.safetensors": write_safetensors, "f.parquet": write_parquet,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_files(name, tmp_path):
    FORMS[name](tmp_path / name)
    expected = read_features(save(tmp_path / "a.npz", features=FEATURES, labels=CLASSES))
    loaded = read_features(tmp_path / name)
    assert torch.equal(loaded.train.features, expected.train.features)
    np.testing.assert_array_equal(loaded.test.labels, expected.test.labels)
    assert DATASETS["features"].list_files(str(tmp_path / name)) == [tmp_path / name]


def test_a_folder_of_clip_retrieval(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for name in ("img_emb", "metadata"):
        (tmp_path / name).mkdir()
    for number, rows in ((0, slice(0, 20)), (1, slice(20, 40)), (10, slice(40, 60))):
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", FEATURES[rows].astype(np.float16))
        paths = [f"{row}.jpg" for row in range(60)][rows]
        pandas.DataFrame({"image_path": paths, "label": CLASSES[rows]}).to_parquet(
            tmp_path / "metadata" / f"metadata_{number}.parquet"
        )
    loaded = read_features(tmp_path)
    assert loaded.image_paths == tuple(f"{row}.jpg" for row in loaded.row_numbers)
    expected = FEATURES.astype(np.float16)[loaded.row_numbers]
    np.testing.assert_array_equal(loaded.train.features, expected)


@pytest.mark.parametrize(
    "name, expected",
    [("a.pt", "run programs"), ("a.pkl", "run programs"), ("a.csv", "not of a form")],
)
def test_forms_that_are_not_read(name, expected, tmp_path):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(UserError, match=f"{expected}.*numpy.savez"):
        read_features(tmp_path / name)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    write_hdf5(tmp_path / "a.h5")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        read_features(tmp_path / "a.h5")
