"""predict.py --images reads files as the run that learned from files did."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import main_al
import predict

WORDS = "--al-method random --al-budget 6 --al-nb-cycles 1 --epochs 1 --device cpu --flip False"
RAMP = np.arange(64).reshape(8, 8)


@pytest.fixture
def run_on(tmp_path, home, capsys):
    """Run on 12 files of each class; -> the run folder.  make(number) -> an image."""

    def run(name, make, extension, *words):
        for number in range(48):
            part, label = ("train", "test")[number % 4 == 3], "ab"[number // 4 % 2]
            path = tmp_path / name / part / label / f"{number:02}.{extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            make(number).save(path)
        folder = tmp_path / f"run {name}"
        command = [*WORDS.split(), "--dataset", "folder", "--data-root", str(tmp_path / name)]
        assert main_al.main([*command, "--run-dir", str(folder), *words]) == 0
        return folder

    return run


@pytest.fixture
def probabilities(capsys):
    """File name -> class and probability; and standard error."""

    def predict_files(run, *words):
        capsys.readouterr()
        assert predict.main([str(word) for word in (run, *words)]) == 0
        out, err = capsys.readouterr()
        rows = csv.DictReader(io.StringIO(out))
        return {row["path"].split("/")[-1]: (row["class"], row["probability"]) for row in rows}, err

    return predict_files


def make_12_bits(number):
    return Image.fromarray(np.uint16(RAMP * (1 + number % 24) * 65 // 24))


def test_the_scale_of_the_run_is_used(run_on, probabilities, tmp_path):
    """Also for files that would have another scale by themselves."""
    run = run_on("deep", make_12_bits, "png")
    facts = json.loads((run / "preprocessing.json").read_text())
    assert facts["value_scales"]["integers"]["high"] == 4095 and facts["page"] == "first"
    pool, _ = probabilities(run)
    files, err = probabilities(run, "--images", tmp_path / "deep" / "train")
    assert err == "" and len(files) == 36
    alone = tmp_path / "alone"
    alone.mkdir()
    make_12_bits(0).save(alone / "00.png")  # its largest value needs 8 bits
    single, _ = probabilities(run, "--images", alone)
    assert single["00.png"] == files["00.png"]
    unknown = [name for name in files if pool[name] == files[name]]
    assert len(unknown) >= 30  # all but those that a label corrects


def test_the_scale_of_the_run_s_arrays_is_used(home, probabilities, tmp_path):
    """Each image as a file gets the probability that it has as a row of the arrays."""
    images = np.stack([np.asarray(make_12_bits(number)) for number in range(48)])
    names = np.array([f"{number:02}.png" for number in range(48)])
    data, run, new = tmp_path / "mine.npz", tmp_path / "run", tmp_path / "new"
    np.savez(data, images=images, labels=np.arange(48) % 2, paths=names)
    command = [*WORDS.split(), "--dataset", "arrays", "--data-root", str(data)]
    assert main_al.main([*command, "--run-dir", str(run)]) == 0
    new.mkdir()
    for number, name in list(enumerate(names))[:6]:  # alone these dark ones have another scale
        make_12_bits(number).save(new / name)
    pool, _ = probabilities(run)
    files, err = probabilities(run, "--images", new)
    assert err == "" and len(files) == 6
    assert sum(pool[name] == files[name] for name in files) >= 4  # labels correct some


def test_a_run_without_a_recorded_scale_keeps_the_old_rule(run_on, probabilities, tmp_path):
    run = run_on("bytes", lambda number: Image.fromarray(np.uint8(RAMP * 4 - number % 4)), "png")
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(np.uint16(RAMP * 65)).save(new / "deep.png")
    Image.fromarray(np.uint8(RAMP * 65 >> 8)).save(new / "upper.png")
    Image.fromarray(np.uint8(RAMP * 65 >> 4)).save(new / "scaled.png")
    rows, err = probabilities(run, "--images", new)
    assert rows["deep.png"] == rows["scaled.png"] and "4095" in err and err.count("\n") == 1
    path = run / "preprocessing.json"
    facts = json.loads(path.read_text())
    del facts["value_scales"], facts["page"]
    path.write_text(json.dumps(facts))
    rows, err = probabilities(run, "--images", new)
    assert rows["deep.png"] == rows["upper.png"] != rows["scaled.png"] and err == ""


@pytest.mark.parametrize("extension", ["pbm", "jfif"])
def test_the_files_of_training_are_the_files_of_prediction(
    extension, run_on, probabilities, tmp_path
):
    def make(number):
        image = Image.fromarray(np.uint8(RAMP * 4 + number % 3))
        return image.convert("1") if extension == "pbm" else image

    run = run_on("files", make, extension)
    (tmp_path / "files" / "train" / "notes.txt").write_text("")
    (tmp_path / "files" / "train" / ".hidden.png").write_text("")
    rows, err = probabilities(run, "--images", tmp_path / "files" / "train")
    assert len(rows) == 36 and err.count("\n") == 1 and "notes.txt" in err


def test_the_page_of_the_run_is_used(run_on, probabilities, tmp_path):
    run = run_on("files", make_12_bits, "tif", "--page", "max")
    new = tmp_path / "new"
    new.mkdir()
    frames = [make_12_bits(number) for number in (2, 20)]
    frames[0].save(new / "stack.tif", save_all=True, append_images=frames[1:])
    frames[1].save(new / "flat.tif")
    rows, err = probabilities(run, "--images", new)
    assert rows["stack.tif"] == rows["flat.tif"] and "1 file" in err and "stack.tif" in err
