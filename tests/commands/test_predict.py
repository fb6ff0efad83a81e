"""predict.py: classes for the images of a pool and of a folder, from a finished run."""

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
from data.image_decoding import decode_without_scale
from labeling.answers import read_answers
from models import create_model
from scripts import digits_as_folder
from tests.commands.test_main_al import rows
from tests.labeling.sessions import answer
from utils.spreadsheets import unescape_cell

WORDS = "--initial random --al-budget 40 --epochs 8 --ema 0.8 --device cpu --oracle file"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """The folder of a run of two cycles with averaged weights, labeled by a person."""
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
def image_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "digits"
    assert digits_as_folder.main([str(folder), "--hide", "2"]) == 0
    return folder


@pytest.fixture
def predict_rows(capsys):
    """Run predict.py; returns the exit status, the rows of the table, standard error."""

    def run(*words):
        capsys.readouterr()
        try:
            status = predict.main([str(word) for word in words])
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return status, list(csv.DictReader(io.StringIO(out))), err

    return run


def probabilities_by_hand(folder, pixels) -> np.ndarray:
    """Class probabilities (N, C) from the files in the run folder, using nothing of the project but
    the network."""
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


def test_predictions_for_the_pool(finished_run, predict_rows):
    status, predictions, err = predict_rows(finished_run)
    assert status == 0 and err == "" and len(predictions) == 1437
    train = DATASETS["digits"].load("")[0]
    probs = probabilities_by_hand(finished_run, train.pixels)
    labels = {row["index"]: row["label"] for row in rows(finished_run / "acquired.csv")}
    assert len(labels) == 80
    for index, row in enumerate(predictions):
        assert row["index"] == str(index) and row["path"] == ""
        assert (row["given"] == "1") == (str(index) in labels)
        expected = labels.get(str(index), str(probs[index].argmax()))
        assert row["class"] == expected
        assert abs(float(row["probability"]) - probs[index][int(expected)]) < 1e-3
    assert (finished_run / "classes.txt").read_text().split() == [str(i) for i in range(10)]


def test_human_labels_are_kept_where_the_network_disagrees(finished_run, predict_rows):
    labeled = [row for row in predict_rows(finished_run)[1] if row["given"] == "1"]
    assert [row for row in labeled if float(row["probability"]) < 0.3]


def test_predictions_for_a_folder(finished_run, image_files, predict_rows, tmp_path):
    """Digits as image files get the same classes as the arrays; the data set is not needed."""
    words = (finished_run, "--images", image_files / "test", "--csv", tmp_path / "a.csv")
    status, printed, _ = predict_rows(*words)
    assert status == 0 and printed == []
    predictions = rows(tmp_path / "a.csv")
    test = DATASETS["digits"].load("")[1]
    probs = probabilities_by_hand(finished_run, test.pixels)
    assert len(predictions) == 360 and {row["given"] for row in predictions} == {"0"}
    for row in predictions:
        number = int(row["path"][-8:-4]) - 1437
        assert row["path"].startswith(f"{test.labels[number]}/")
        assert row["class"] == str(probs[number].argmax())
    assert predict_rows(*words)[0] == 0  # its own output is overwritten


def test_pseudo_labels(finished_run, predict_rows):
    status, predictions, _ = predict_rows(finished_run, "--pseudo")
    assert status == 0
    for row in predictions:
        if row["given"] == "1":
            assert (row["pseudo"], row["pseudo_weight"]) == (row["class"], "1.0000")
    truth = DATASETS["digits"].load("")[0].labels
    correct = np.mean([row["pseudo"] == str(truth[int(row["index"])]) for row in predictions])
    assert correct > 0.6  # after 16 epochs of training


def test_the_estimate_follows_the_table(tmp_path, capsys):
    """On standard error where the table goes to standard output, which may be read on."""
    words = "--dataset digits --add-lp --lp-k 10 --al-budget 20 --al-nb-cycles 1 --epochs 1"
    words += " --lp-views pixels"
    assert main_al.main([*words.split(), "--run-dir", str(tmp_path / "run")]) == 0
    (row,) = rows(tmp_path / "run" / "results.csv")
    values = [row[f"estimated_{name}"] for name in ("accuracy", "low", "high")]
    line = "estimated accuracy on the unlabeled images of the run: {} %, between {} and {} % with"
    for more, stream in (([], 1), (["--csv", str(tmp_path / "table.csv")], 0)):
        capsys.readouterr()
        assert predict.main([str(tmp_path / "run"), *more]) == 0
        streams = capsys.readouterr()
        assert line.format(*values) in streams[stream] and "estimated" not in streams[1 - stream]


def test_images_of_any_kind(tmp_path):
    """As runs of earlier versions saw them: rotated, cropped, resized; 16 bits, transparency."""
    grey = np.tile(np.arange(0, 240, 20, dtype=np.uint8), (6, 1))  # (6, 12)
    Image.fromarray(grey).save(tmp_path / "wide.png")
    pixels = decode_without_scale(tmp_path / "wide.png", 6, grey=True)
    np.testing.assert_array_equal(pixels[0], grey[:, 3:9])
    assert decode_without_scale(tmp_path / "wide.png", 6, grey=False).shape == (3, 6, 6)
    exif = Image.Exif()
    exif[0x0112] = 8  # rotated by 90 degrees
    Image.fromarray(grey).save(tmp_path / "rotated.png", exif=exif)
    rotated = decode_without_scale(tmp_path / "rotated.png", 6, grey=True)[0]
    np.testing.assert_array_equal(rotated, np.rot90(grey)[3:9])
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode_without_scale(tmp_path / "deep.png", 6, grey=True), pixels)
    colours = Image.fromarray(np.full((9, 9, 4), (200, 10, 30, 90), np.uint8))
    colours.save(tmp_path / "clear.png")
    assert decode_without_scale(tmp_path / "clear.png", 3, grey=False)[:, 1, 1].tolist() == [
        200,
        10,
        30,
    ]
    assert decode_without_scale(tmp_path / "clear.png", 3, grey=True).shape == (1, 3, 3)


def test_unreadable_files_are_reported_and_left_out(finished_run, tmp_path, predict_rows):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "notes.txt").write_text("no image")
    status, predictions, err = predict_rows(finished_run, "--images", tmp_path)
    assert status == 2 and err.count("\n") == 3 and "no readable image" in err
    assert "notes.txt" in err
    Image.fromarray(np.zeros((20, 9), np.uint8)).save(tmp_path / "whole.JPG", "JPEG")
    status, predictions, err = predict_rows(finished_run, "--images", tmp_path)
    assert status == 0 and [row["path"] for row in predictions] == ["whole.JPG"]
    assert err.count("\n") == 2 and "left out" in err and str(tmp_path / "broken.png") in err


def test_a_run_on_features(tmp_path, predict_rows, image_files):
    train, test = digits.load("")
    arrays = {"features": train.pixels.flatten(1).numpy() / 255, "labels": train.labels}
    arrays |= {"test_features": test.pixels.flatten(1).numpy() / 255, "test_labels": test.labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    words = f"--dataset features --data-root {tmp_path / 'digits.npz'} --al-budget 20 --epochs 3"
    words += f" --al-nb-cycles 1 --add-lp --device cpu --run-dir {tmp_path / 'run'}"
    assert main_al.main(words.split()) == 0
    status, predictions, _ = predict_rows(tmp_path / "run", "--pseudo")
    assert status == 0 and len(predictions) == 1437
    assert sum(row["given"] == "1" for row in predictions) == 20
    status, _, err = predict_rows(tmp_path / "run", "--images", image_files)
    assert status == 2 and err.count("\n") == 1 and "features" in err and "--images" in err


def test_names_are_safe_in_a_spreadsheet_and_on_the_terminal(tmp_path, predict_rows):
    rng, names = np.random.default_rng(0), np.array(["=cat", "\x1b[31mdog"])
    labels = np.arange(20) % 2
    arrays = {"features": rng.normal(size=(20, 4)) + labels[:, None], "labels": labels}
    arrays |= {"class_names": names, "paths": [f"-{i}\x1b" for i in range(20)]}
    np.savez(tmp_path / "few.npz", **arrays)
    words = f"--dataset features --data-root {tmp_path / 'few.npz'} --al-budget 4 --epochs 1"
    words += f" --initial random --al-nb-cycles 1 --device cpu --run-dir {tmp_path / 'run'}"
    assert main_al.main(words.split()) == 0
    status, printed, _ = predict_rows(tmp_path / "run")
    assert status == 0 and {row["class"] for row in printed} == {"'=cat", r"\x1b[31mdog"}
    assert {row["path"] for row in printed} == {rf"'-{i}\x1b" for i in range(20)}
    assert predict_rows(tmp_path / "run", "--csv", tmp_path / "a.csv")[0] == 0
    written = rows(tmp_path / "a.csv")
    assert {row["class"] for row in written} == {"'=cat", "\x1b[31mdog"}
    assert {row["path"] for row in written} == {f"'-{i}\x1b" for i in range(20)}
    indices, given = [int(row["index"]) for row in written], {n: i for i, n in enumerate(names)}
    answers = read_answers(tmp_path / "a.csv", np.array(indices), tuple(names))
    expected = [given[unescape_cell(row["class"])] for row in written]
    assert answers.labels.tolist() == expected


def test_errors_are_one_line(finished_run, tmp_path, predict_rows, monkeypatch):
    waiting = tmp_path / "waiting"
    words = [*WORDS.split(), "--al-nb-cycles", "1", "--run-dir", str(waiting)]
    assert main_al.main(words) == 3
    (tmp_path / "mine.csv").write_text("a,b\n")
    (tmp_path / "empty").mkdir()
    for words, parts in (
        ([tmp_path / "none"], ["none", "does not exist", ".../split0"]),
        ([tmp_path], ["not a run folder", "runs below it", str(waiting)]),
        ([tmp_path / "empty"], ["not a run folder", "config.json", ".../split0"]),
        ([finished_run / "config.json"], ["config.json is not a folder", ".../split0"]),
        ([waiting], [str(waiting), "not finished"]),
        ([finished_run, "--pseudo", "--images", tmp_path], ["--pseudo", "--images"]),
        ([finished_run, "--data-root", "x", "--images", tmp_path], ["--data-root", "--images"]),
        ([finished_run, "--images", tmp_path / "none"], ["--images", "none", "not a folder"]),
        ([finished_run, "--csv", tmp_path / "mine.csv"], ["mine.csv", "predict.py"]),
        ([finished_run, "--csv", tmp_path / "a.txt"], ["a.txt", ".csv"]),
        ([finished_run, "--device", "cuda:99"], ["--device cuda:99", "available"]),
        ([], ["required", "run"]),
    ):
        status, _, err = predict_rows(*words)
        assert status == 2 and err.count("\n") == 1, err
        assert all(part in err for part in parts), err
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"
    train, test = DATASETS["digits"].load("")
    other = dataclasses.replace(DATASETS["digits"], load=lambda root: (test, train))
    monkeypatch.setitem(DATASETS, "digits", other)
    status, _, err = predict_rows(finished_run)
    assert status == 2 and "other data" in err and err.count("\n") == 1
    damaged = tmp_path / "damaged"
    shutil.copytree(finished_run, damaged)
    (damaged / "checkpoint.pt").write_bytes(b"x" * 999)
    status, _, err = predict_rows(damaged)
    assert status == 2 and "checkpoint.pt is damaged" in err and err.count("\n") == 1


def test_the_digits_as_a_folder(image_files, capsys):
    assert len(list(image_files.glob("train/*/*.png"))) == 20
    assert len(list(image_files.glob("unlabeled/*.png"))) == 1437 - 20
    assert len(list(image_files.glob("test/*/*.png"))) == 360
    assert digits_as_folder.main([str(image_files)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(image_files) in line
