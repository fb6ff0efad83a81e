"""Folders of features: what is encoded, resuming, damaged images, and reading them again."""

import contextlib
import itertools
import json
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embed
from data import feature_files, features, folder
from data.custom import FlipOptions, ValueOptions
from data.encoder_inputs import FileSource, find_scales
from data.features import FeatureOptions
from data.folder import FolderOptions
from experiment import encoding
from experiment.config import SCHEMA
from tests.conftest import ROOT
from tests.data.folder_files import add_images
from tests.forked import ForkedCommand
from tests.models.encoders.model_files import save_onnx
from tests.waiting import wait_for
from utils.options.schema import validate_options

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_onnx(tmp_path_factory.mktemp("model") / "model.onnx", ["B", 3, 32, 32]))


def embed_words(root, out, model, *more):
    settings = ("--encoder", "onnx", "--encoder-weights", model, "--encoder-mean", "0.5,0.5,0.5")
    return [
        str(root),
        "--out",
        str(out),
        *settings,
        "--encoder-std",
        "1,1,1",
        "--device=cpu",
        *more,
    ]


def files_of(out):
    """Name -> content of a folder of features."""
    return {path.name: path.read_bytes() for path in out.iterdir()}


def read_features(out):
    return features.load(str(out), files=FeatureOptions())


def test_parts_classes_and_paths_are_those_of_the_folder(tmp_path, model, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-12}.png", "unlabeled/{1-4}.png")
    out = tmp_path / "photos.features"
    assert embed.main(embed_words(root, out, model)) == 0
    assert "16 train" not in capsys.readouterr().err
    pixels = folder.load(
        str(root), flip=FlipOptions(), folder=FolderOptions(cache=None), values=ValueOptions()
    )
    loaded = read_features(out)
    assert loaded.image_paths == pixels.image_paths and loaded.class_names == pixels.class_names
    for name in ("train", "test"):
        np.testing.assert_array_equal(getattr(loaded, name).labels, getattr(pixels, name).labels)
    assert (loaded.train.labels < 0).sum() == 4 and loaded.row_numbers is None
    assert loaded.image_files == tuple(str(root / path) for path in loaded.image_paths)
    assert not [line for line in loaded.warnings if "not used" in line]


def test_a_validation_part_is_evaluated_as_well(tmp_path, model):
    root = add_images(tmp_path / "photos", "{train,test,val}/{a,b}/{1-5}.png")
    assert embed.main(embed_words(root, tmp_path / "out", model)) == 0
    loaded = read_features(tmp_path / "out")
    assert loaded.validation.features.shape == (10, 5)
    assert sorted(loaded.validation.labels) == [0] * 5 + [1] * 5


def test_rows_are_the_encoder_applied_to_each_file(tmp_path, model):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    assert embed.main(embed_words(root, tmp_path / "out", model)) == 0
    loaded = read_features(tmp_path / "out")
    explicit = {"encoder": "onnx", "encoder_weights": model, "device": "cpu"}
    stated = {"encoder_mean": "0.5,0.5,0.5", "encoder_std": "1,1,1"}
    options = validate_options(SCHEMA, explicit | stated)
    encoder = encoding.load_encoder(options)
    for path, row in zip(loaded.image_paths, loaded.train.features.numpy(), strict=True):
        image = Image.open(root / path).convert("RGB")
        np.testing.assert_allclose(encoder.encode(encoder.prepare(image)[None])[0], row, rtol=1e-5)


def test_arrays_keep_their_rows(tmp_path, model):
    """An index is still the row of the file, and the same fifth is held out."""
    from data import arrays

    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz",
        images=rng.integers(256, size=(40, 32, 32, 3), dtype=np.uint8),
        labels=np.arange(40) % 2,
    )
    assert embed.main(embed_words(tmp_path / "mine.npz", tmp_path / "out", model)) == 0
    pixels = arrays.load(str(tmp_path / "mine.npz"), flip=FlipOptions(), values=ValueOptions())
    loaded = read_features(tmp_path / "out")
    np.testing.assert_array_equal(loaded.row_numbers, pixels.row_numbers)
    np.testing.assert_array_equal(loaded.train.labels, pixels.train.labels)
    assert len(np.load(tmp_path / "out" / "features.npy")) == 40


def test_values_of_more_than_8_bits_palettes_and_transparency(tmp_path):
    """The encoder sees what a run on pixels sees, at full size."""
    rng = np.random.default_rng(0)
    deep = rng.integers(4096, size=(20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    alpha = np.zeros((20, 30, 4), np.uint8)
    alpha[:10] = (10, 20, 30, 255)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    colour = Image.fromarray(rng.integers(256, size=(20, 30, 3), dtype=np.uint8))
    colour.quantize(16).save(tmp_path / "palette.png")
    colour.convert("L").save(tmp_path / "grey.png")
    names = ("deep", "alpha", "palette", "grey")
    paths = [tmp_path / f"{name}.png" for name in names]
    with encoding.ThreadPoolExecutor(2) as executor:
        scales, lines = find_scales(paths, "first", None, executor)
    assert len(lines) == 1 and "12 bits" in lines[0]
    source = FileSource(paths, "first", scales)
    deep_image, alpha_image, palette_image, grey_image = (
        np.asarray(source.read(n)) for n in range(4)
    )
    np.testing.assert_array_equal(deep_image, np.repeat((deep >> 4)[..., None], 3, 2))
    assert (alpha_image[:10] == (10, 20, 30)).all() and (alpha_image[10:] == 255).all()
    np.testing.assert_array_equal(palette_image, Image.open(paths[2]).convert("RGB"))
    np.testing.assert_array_equal(grey_image, Image.open(paths[3]).convert("RGB"))


def test_masks_of_small_numbers_have_their_scale(tmp_path):
    """As in a run on pixels: 0 and 1 of 256 values become black and white."""
    for n in range(3):
        Image.fromarray(np.uint8([[0, 1], [1, n % 2]])).save(tmp_path / f"{n}.png")
    paths = sorted(tmp_path.iterdir())
    with encoding.ThreadPoolExecutor(2) as executor:
        scales, _ = find_scales(paths, "first", None, executor)
    assert np.asarray(FileSource(paths, "first", scales).read(0)).tolist()[0] == [
        [0] * 3,
        [255] * 3,
    ]


def test_killed_at_random_and_resumed_gives_the_same_bytes(tmp_path, model):
    root = add_images(tmp_path / "photos", "{a,b}/{1-700}.png", "unlabeled/{1-300}.png")
    assert embed.main(embed_words(root, tmp_path / "whole", model)) == 0
    words = embed_words(root, tmp_path / "killed", model)
    progress, rng = tmp_path / "killed.part" / "progress.json", np.random.default_rng()
    shards, kills = 0, 0

    def count_shards():
        try:
            state = json.loads(progress.read_text())
        except FileNotFoundError:  # not begun, or complete meanwhile
            return 0
        return sum(map(len, state["shards"].values()))

    while not (tmp_path / "killed").exists():
        process = ForkedCommand(ROOT / "embed.py", *words)
        wanted = shards + 1 if kills < 3 else 100
        wait_for(lambda: process.poll() is not None or count_shards() >= wanted)  # noqa: B023
        wait_for(lambda: True, seconds=1, pause=float(rng.random()) * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if progress.exists():
            assert count_shards() >= shards  # nothing that was complete is lost
            shards = count_shards()
    assert kills >= 1
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert not progress.parent.exists()


class Stopped(BaseException):
    """In the place of a kill."""


@pytest.mark.parametrize("moment", range(16))
def test_stopped_while_the_folder_is_completed(tmp_path, model, moment, monkeypatch):
    """Stopped before each of the last steps in turn, with one image that is left out."""
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    (root / "a" / "3.png").write_bytes(b"damaged")
    whole, words = tmp_path / "whole", embed_words(root, tmp_path / "out", model, "--skip-corrupt")
    assert embed.main(embed_words(root, whole, model, "--skip-corrupt")) == 0
    calls = itertools.count()

    def stop_at(function):
        def call(*arguments, **settings):
            if next(calls) == moment:
                raise Stopped
            return function(*arguments, **settings)

        return call

    for owner, name in (
        (os, "rename"),
        (os, "replace"),
        (feature_files, "_save_array"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, stop_at(getattr(owner, name)))
    with contextlib.suppress(Stopped):
        embed.main(words)
    monkeypatch.undo()
    assert embed.main(words) == 0
    assert files_of(tmp_path / "out") == files_of(whole)


def test_a_resumed_encoding_keeps_its_batch_size(tmp_path, model, monkeypatch, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    words = embed_words(root, tmp_path / "out", model)
    monkeypatch.setattr("data.feature_files._write_other_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        embed.main([*words, "--batch-size=4"])
    monkeypatch.undo()
    assert embed.main([*words, "--batch-size=2"]) == 0
    assert "resuming with the batch size of before, 4" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "encoding.json").read_text())["batch_size"] == 4


def interrupt(*args):
    raise KeyboardInterrupt


def test_corrupt_images_are_named_left_out_or_repaired(tmp_path, model, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert embed.main(embed_words(root, whole, model)) == 0
    good = (root / "a" / "3.png").read_bytes()
    (root / "a" / "3.png").write_bytes(good[:60])
    capsys.readouterr()
    assert embed.main(embed_words(root, out, model)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "1 of 18 images" in error and "a/3.png" in error
    assert not out.exists()

    skipped = tmp_path / "skipped"
    assert embed.main(embed_words(root, skipped, model, "--skip-corrupt")) == 0
    one, all_rows = read_features(skipped), read_features(whole)
    kept = [path != os.path.join("a", "3.png") for path in all_rows.image_paths]
    assert sum(kept) == len(kept) - 1 and "a/3.png" not in one.image_paths
    np.testing.assert_array_equal(one.train.features, all_rows.train.features[kept])

    (root / "a" / "3.png").write_bytes(good)
    assert embed.main(embed_words(root, out, model)) == 0
    for name in ("features.npy", "labels.npy", "paths.npy", "test_features.npy"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_another_encoder_or_changed_images_are_refused(tmp_path, model, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    words = embed_words(root, tmp_path / "out", model)
    assert embed.main(words) == 0
    before = files_of(tmp_path / "out")
    assert embed.main(words) == 0  # nothing to do
    other = str(save_onnx(tmp_path / "other.onnx", ["B", 3, 32, 32], seed=1))
    for changed, word in (
        (embed_words(root, tmp_path / "out", other), "made with other weights"),
        ([*words, "--encoder-mean=0.1"], "made with other preprocessing"),
    ):
        capsys.readouterr()
        assert embed.main(changed) == 2
        assert word in capsys.readouterr().err
    os.utime(root / "a" / "1.png", ns=(1, 1))
    assert embed.main(words) == 2
    assert "images that have changed since" in capsys.readouterr().err
    add_images(root, "a/10.png")
    assert embed.main(words) == 2
    assert "holds features of other images" in capsys.readouterr().err
    assert files_of(tmp_path / "out") == before


def test_a_folder_that_is_not_ours_is_refused(tmp_path, model, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    assert embed.main(embed_words(root, root, model)) == 2
    assert "was not written by an encoder" in capsys.readouterr().err


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def test_a_refused_write_is_one_line_and_the_same_command_continues(tmp_path, model):
    """As on a full disk: no file may become larger than a limit."""
    root = add_images(tmp_path / "photos", "{a,b}/{1-300}.png")
    words = embed_words(root, tmp_path / "out", model)
    refused = ForkedCommand(ROOT / "embed.py", *words, prepare=limit_file_size)
    _, error = refused.communicate()
    assert refused.returncode == 1 and error.count("\n") == 1
    assert "features.rows cannot be written: File too large" in error
    assert not (tmp_path / "out").exists()
    assert embed.main(words) == 0
    assert len(read_features(tmp_path / "out").train.features) > 400


def test_features_that_are_not_finite_name_the_image(tmp_path, model, capsys):
    root = add_images(tmp_path / "photos", "{a,b}/{1-9}.png")
    words = [*embed_words(root, tmp_path / "out", model), "--encoder-std=0,0,0"]
    with np.errstate(divide="ignore", invalid="ignore"):
        assert embed.main(words) == 2
    assert "numbers that are not finite for" in capsys.readouterr().err
