"""--encoder of main_al.py and embed.py: the same run, and predictions for new images."""

import csv
import json

import numpy as np
import pytest

import embed
import main_al
import predict
import report
from tests.data.folder_files import add_images
from tests.models.encoders.model_files import save_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHORT = [
    *("--al-budget=4", "--al-nb-cycles=2", "--epochs=3", "--device=cpu", "--initial=random"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    save_onnx(root / "model.onnx", ["B", 3, 32, 32])
    return add_images(root / "photos", "{a,b}/{1-30}.png")


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """The folder of a finished run with --encoder."""
    out = tmp_path_factory.mktemp("runs")
    assert main_al.main(words(photos, out)) == 0
    return next(out.glob("folder/*/linear/*/*/split0"))


def words(photos, out):
    return [
        *("--dataset", "folder", "--data-root", str(photos), "--encoder", "onnx"),
        *("--encoder-weights", str(photos.parent / "model.onnx"), *SHORT, "--out", str(out)),
    ]


def accuracies(folder):
    with open(folder / "results.csv", newline="") as file:
        return [row["top1"] for row in csv.DictReader(file)]


def predictions(capsys, *arguments):
    capsys.readouterr()
    assert predict.main([str(argument) for argument in arguments]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_a_run_with_encoder_is_a_run_on_the_features_of_embed(photos, run, tmp_path):
    out, weights = tmp_path / "photos.features", photos.parent / "model.onnx"
    encoder = ["--encoder=onnx", f"--encoder-weights={weights}", "--device=cpu"]
    assert embed.main([str(photos), "--out", str(out), *encoder]) == 0
    settings = ["--dataset=features", f"--data-root={out}", *SHORT, f"--out={tmp_path}"]
    assert main_al.main(settings) == 0
    other = next(tmp_path.glob("features/*/linear/*/*/split0"))
    assert accuracies(other) == accuracies(run)
    for name in ("acquired.csv", "classes.txt"):
        assert (other / name).read_bytes() == (run / name).read_bytes()


def test_a_finished_run_is_found_again_until_its_weights_change(photos, run, capsys):
    out = run.parents[5]
    capsys.readouterr()
    assert main_al.main(words(photos, out)) == 0
    assert main_al.ALREADY_FINISHED_MESSAGE in capsys.readouterr().out
    identity = json.loads((run / "config.json").read_text())["identity"]
    assert identity["encoder"]["weights"] and identity["options"]["encoder"] == "onnx"


def test_new_images_pass_through_the_same_encoder(photos, run, tmp_path, capsys):
    """A copy of the images of the pool gets the pool's predictions."""
    pool = {row["path"]: row for row in predictions(capsys, run)}
    new = predictions(capsys, run, "--images", photos)
    assert len(new) == 60
    compared = [row for row in new if row["path"] in pool and pool[row["path"]]["given"] == "0"]
    assert len(compared) > 20
    for row in compared:
        expected = pool[row["path"]]
        assert row["class"] == expected["class"]
        assert float(row["probability"]) == pytest.approx(float(expected["probability"]), abs=1e-3)


def test_other_weights_than_those_of_the_run_are_refused(photos, run, capsys):
    path = photos.parent / "model.onnx"
    before = path.read_bytes()
    save_onnx(path, ["B", 3, 32, 32], seed=1)
    try:
        assert predict.main([str(run), "--images", str(photos)]) == 2
    finally:
        path.write_bytes(before)
    assert "has other weights than in the run" in capsys.readouterr().err


def test_reports_and_the_labeling_page_show_the_images(photos, run, tmp_path):
    out = tmp_path / "report"
    assert report.main([str(run.parents[5]), "--out", str(out)]) == 0
    assert "data:image/png" in next(out.glob("*.html")).read_text()
    words_of_run = [*words(photos, tmp_path / "runs"), "--oracle=file"]
    assert main_al.main(words_of_run) == 3
    page = next((tmp_path / "runs").rglob("queries.html")).read_text()
    assert page.count("data:image/") >= 4


def test_images_in_arrays_are_shown_as_well(tmp_path, photos):
    images = np.random.default_rng(0).integers(256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(60) % 2)
    settings = words(photos, tmp_path / "runs")
    settings[1], settings[3] = "arrays", str(tmp_path / "mine.npz")
    assert main_al.main([*settings, "--oracle=file"]) == 3
    page = next((tmp_path / "runs").rglob("queries.html")).read_text()
    assert page.count("data:image/") >= 4


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["photos", "--encoder=nothing"], "choose from mobilenet_v3_small"),
        (["photos", "--encoder=timm"], "name a model, such as timm:"),
        (["photos", "--encoder=onnx:x"], "use onnx alone"),
        (["photos", "--encoder-mean=1,2"], "three numbers from 0 on"),
        (["photos", "--dataset=features"], "choose from digits"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, word, capsys):
    with pytest.raises(SystemExit) as stopped:
        embed.main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and word in error


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert embed.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
