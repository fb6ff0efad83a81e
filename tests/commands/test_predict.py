"""predict.py: what a practitioner takes home."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import main_al
import predict
from data import DATASETS, digits
from data.image_decoding import decode_image
from models import create_model
from scripts import digits_as_folder
from tests.commands.test_main_al import rows
from tests.labeling.test_oracle import answer

WORDS = "--initial random --al-budget 40 --epochs 8 --ema 0.8 --device cpu --oracle file"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two cycles, with averaged weights, that a person answered; -> its folder."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    words = [*WORDS.split(), "--al-nb-cycles", "2", "--run-dir", str(folder)]
    labels = DATASETS["digits"].load("")[0].labels
    truth = {str(index): str(label) for index, label in enumerate(labels)}
    for _ in range(2):
        assert main_al.main(words) == 3
        answer(folder, truth)
    assert main_al.main(words) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "digits"
    assert digits_as_folder.main([str(folder), "--hide", "2"]) == 0
    return folder


@pytest.fixture
def call(capsys):
    """Run predict.py; -> status, the table's rows, what it said as errors."""

    def run(*words):
        capsys.readouterr()
        try:
            status = predict.main([str(word) for word in words])
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return status, list(csv.DictReader(io.StringIO(out))), err

    return run


def by_hand(folder, pixels) -> np.ndarray:
    """Probabilities, by what lies in the run's folder and nothing else of the project but the
    network."""
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    facts = json.loads((folder / "preprocessing.json").read_text())
    assert facts["size"] == 8 and facts["channels"] == 1
    averaged = saved["averaged"]
    weights = {name[7:]: averaged[name] for name in averaged if name.startswith("module.")}
    network = create_model("sized_cnn", 10, facts["channels"], facts["size"]).eval()
    network.load_state_dict(weights)
    mean, std = (torch.tensor(facts[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits, _ = network((pixels.float() / 255 - mean) / std)
    return logits.softmax(dim=1).numpy()


def test_of_the_pool(finished, call):
    status, found, err = call(finished)
    assert status == 0 and err == "" and len(found) == 1437
    train = DATASETS["digits"].load("")[0]
    probs = by_hand(finished, train.pixels)
    given = {row["index"]: row["label"] for row in rows(finished / "acquired.csv")}
    assert len(given) == 80
    for index, row in enumerate(found):
        assert row["index"] == str(index) and row["path"] == ""
        assert (row["given"] == "1") == (str(index) in given)
        right = given.get(str(index), str(probs[index].argmax()))
        assert row["class"] == right
        assert abs(float(row["probability"]) - probs[index][int(right)]) < 1e-3
    assert (finished / "classes.txt").read_text().split() == [str(i) for i in range(10)]


def test_what_a_person_said_against_the_network_is_kept(finished, call):
    found = call(finished)[1]
    surely = [row for row in found if row["given"] == "1" and float(row["probability"]) < 0.3]
    assert surely  # the network is not of one mind with all that it was given


def test_of_a_folder(finished, pictures, call, tmp_path):
    """The digits as files get the classes that they have in the pool, without the data set."""
    status, found, _ = call(finished, "--images", pictures / "test", "--csv", tmp_path / "a.csv")
    assert status == 0 and found == []
    found = rows(tmp_path / "a.csv")
    test = DATASETS["digits"].load("")[1]
    probs = by_hand(finished, test.pixels)
    assert len(found) == 360 and {row["given"] for row in found} == {"0"}
    for row in found:
        number = int(row["path"][-8:-4]) - 1437
        assert row["path"].startswith(f"{test.labels[number]}/")
        assert row["class"] == str(probs[number].argmax())
    assert call(finished, "--images", pictures / "test", "--csv", tmp_path / "a.csv")[0] == 0


def test_with_pseudo_labels(finished, call):
    status, found, _ = call(finished, "--pseudo")
    assert status == 0
    for row in found:
        assert row["given"] == "0" or (row["pseudo"], row["pseudo_weight"]) == (
            row["class"],
            "1.0000",
        )
    truth = DATASETS["digits"].load("")[0].labels
    right = np.mean([row["pseudo"] == str(truth[int(row["index"])]) for row in found])
    assert right > 0.6  # of a network of 16 epochs


def test_images_of_any_kind(tmp_path):
    """Turned, cropped in the middle, resized; 16 bits, palettes, transparency."""
    grey = np.tile(np.arange(0, 240, 20, dtype=np.uint8), (6, 1))  # (6, 12)
    Image.fromarray(grey).save(tmp_path / "wide.png")
    found = decode_image(tmp_path / "wide.png", 6, grey=True)
    np.testing.assert_array_equal(found[0], grey[:, 3:9])
    assert decode_image(tmp_path / "wide.png", 6, grey=False).shape == (3, 6, 6)
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned by 90 degrees
    Image.fromarray(grey).save(tmp_path / "turned.png", exif=exif)
    turned = decode_image(tmp_path / "turned.png", 6, grey=True)[0]
    np.testing.assert_array_equal(turned, np.rot90(grey)[3:9])
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "deep.png", 6, grey=True), found)
    colours = Image.fromarray(np.full((9, 9, 4), (200, 10, 30, 90), np.uint8))
    colours.save(tmp_path / "clear.png")
    assert decode_image(tmp_path / "clear.png", 3, grey=False)[:, 1, 1].tolist() == [200, 10, 30]
    assert decode_image(tmp_path / "clear.png", 3, grey=True).shape == (1, 3, 3)


def test_what_cannot_be_read_is_named_and_left_out(finished, tmp_path, call):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "notes.txt").write_text("no image")
    status, found, err = call(finished, "--images", tmp_path)
    assert status == 2 and err.count("\n") == 2 and "no image that can be read" in err
    Image.fromarray(np.zeros((20, 9), np.uint8)).save(tmp_path / "whole.JPG", "JPEG")
    status, found, err = call(finished, "--images", tmp_path)
    assert status == 0 and [row["path"] for row in found] == ["whole.JPG"]
    assert err.count("\n") == 1 and f"left out: {tmp_path / 'broken.png'}: " in err


def test_a_run_on_features(tmp_path, call, pictures):
    train, test = digits.load("")
    arrays = {"features": train.pixels.flatten(1).numpy() / 255, "labels": train.labels}
    arrays |= {"test_features": test.pixels.flatten(1).numpy() / 255, "test_labels": test.labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    words = f"--dataset features --data-root {tmp_path / 'digits.npz'} --al-budget 20 --epochs 3"
    words += f" --al-nb-cycles 1 --add-lp --device cpu --run-dir {tmp_path / 'run'}"
    assert main_al.main(words.split()) == 0
    status, found, _ = call(tmp_path / "run", "--pseudo")
    assert status == 0 and len(found) == 1437 and sum(row["given"] == "1" for row in found) == 20
    status, _, err = call(tmp_path / "run", "--images", pictures)
    assert status == 2 and err.count("\n") == 1 and "learned from features" in err


def test_refused_in_one_line(finished, tmp_path, call, monkeypatch):
    waiting = tmp_path / "waiting"
    words = [*WORDS.split(), "--al-nb-cycles", "1", "--run-dir", str(waiting)]
    assert main_al.main(words) == 3
    (tmp_path / "mine.csv").write_text("a,b\n")
    for words, told in (
        ([tmp_path / "none"], "is no run's folder: one that holds config.json is right"),
        ([tmp_path], "is no run's folder"),
        ([waiting], "is not finished: give the command of the run again"),
        ([finished, "--pseudo", "--images", tmp_path], "--pseudo is of the run's own pool"),
        (
            [finished, "--images", tmp_path / "none"],
            "none is no folder: one with images in it is right",
        ),
        ([finished, "--csv", tmp_path / "mine.csv"], "mine.csv is there and is not of predict.py"),
        ([finished, "--csv", tmp_path / "a.txt"], "must end in .csv"),
        ([finished, "--device", "cuda:99"], "--device cuda:99 is not here"),
        ([], "the following arguments are required: run"),
    ):
        status, _, err = call(*words)
        assert status == 2 and told in err and err.count("\n") == 1, err
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"
    train, test = DATASETS["digits"].load("")
    other = dataclasses.replace(DATASETS["digits"], load=lambda root: (test, train))
    monkeypatch.setitem(DATASETS, "digits", other)
    status, _, err = call(finished)
    assert status == 2 and "was made on other data" in err and err.count("\n") == 1
    damaged = tmp_path / "damaged"
    shutil.copytree(finished, damaged)
    (damaged / "checkpoint.pt").write_bytes(b"x" * 999)
    status, _, err = call(damaged)
    assert status == 2 and "checkpoint.pt is damaged" in err and err.count("\n") == 1


def test_the_digits_as_a_folder(pictures, capsys):
    assert len(list(pictures.glob("train/*/*.png"))) == 20
    assert len(list(pictures.glob("unlabeled/*.png"))) == 1437 - 20
    assert len(list(pictures.glob("test/*/*.png"))) == 360
    assert digits_as_folder.main([str(pictures)]) == 2
    assert "is there already" in capsys.readouterr().err
