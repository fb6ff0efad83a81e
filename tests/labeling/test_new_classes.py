"""Classes that turn up while a person labels, and classes that disappear."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import main_al
import predict
from data.folder_listing import list_image_folder
from experiment.checkpoint import load_checkpoint
from tests.commands.test_main_al import assert_same_run, rows
from tests.data.folder_files import add_images

WORDS = "--dataset folder --oracle file --initial given --al-method coreset --al-budget 12"
SHORT = f"{WORDS} --al-nb-cycles 2 --epochs 2 --device cpu"
DIGITS = load_digits()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with the classes d0 .. d7; all other digits are unlabeled."""
    root = tmp_path_factory.mktemp("digits") / "photos"
    for i in range(200):
        label = DIGITS.target[i]
        part = "test" if i >= 150 else "train"
        folder = root / part / f"d{label}"
        if label > 7 or (part == "train" and i >= 40):
            folder = root / "unlabeled"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(DIGITS.images[i] * 16, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    return root


@pytest.fixture
def photos(tmp_path, original):
    return shutil.copytree(original, tmp_path / "photos")


@pytest.fixture
def run(tmp_path, photos, capsys):
    """main_al.py in one run folder; returns exit status and standard error."""

    def call(*more, name="run") -> tuple[int, str]:
        words = [*SHORT.split(), "--data-root", str(photos), "--run-dir", str(tmp_path / name)]
        status = main_al.main([*words, *map(str, more)])
        return status, capsys.readouterr().err

    return call


def answer(folder, new_class: str) -> None:
    """The true classes of the queries; the digits 8 and 9 are of the new class."""
    lines = ["index,label\n"]
    for row in rows(folder / "queries.csv"):
        digit = DIGITS.target[int(row["path"][-8:-4])]
        lines.append(f"{row['index']},{new_class if digit > 7 else f'd{digit}'}\n")
    (folder / "labels.csv").write_text("".join(lines))


def class_names(folder) -> list[str]:
    return (folder / "classes.txt").read_text().splitlines()


def test_a_class_may_come_from_the_folder_or_from_the_answers(tmp_path, photos, run):
    """The results do not depend on it, nor on the place of its name in the alphabet."""
    known = [f"d{n}" for n in range(8)]
    for name, new_class in (("last", "d8"), ("first", "aardvark"), ("typed", "d8")):
        assert run(name=name)[0] == 3
        folder, added = tmp_path / name, photos / "train" / new_class
        if name != "typed":
            added.mkdir()
        answer(folder, new_class)
        assert run(name=name)[0] == 0
        assert class_names(folder) == [*known, new_class]
        count = sum(row["label"] == "8" for row in rows(folder / "acquired.csv"))
        line = f"new classes: {new_class} ({count} images); the head of the network is made anew"
        assert count > 1 and (folder / "log.txt").read_text().count(line) == 1
        assert run(name=name) == (0, "")
        if name != "typed":
            added.rmdir()
        assert run("--al-nb-cycles", 3, name=name)[0] == 3  # the run keeps the class
        assert load_checkpoint(folder / "checkpoint.pt")["model"]["head.bias"].shape == (9,)
    for name in ("first", "typed"):
        assert_same_run(tmp_path / name, tmp_path / "last")


def test_a_new_folder_is_on_the_page_before_it_is_taken_up(tmp_path, photos, run):
    assert run()[0] == 3
    assert '"zebra"' not in (tmp_path / "run" / "queries.html").read_text()
    (photos / "train" / "zebra").mkdir()
    assert run()[0] == 3
    assert '"zebra"' in (tmp_path / "run" / "queries.html").read_text()
    answer(tmp_path / "run", "d7")
    assert run()[0] == 0  # without an image
    assert class_names(tmp_path / "run")[8:] == ["zebra"]


def test_the_backbone_continues_under_a_new_head(tmp_path, run, monkeypatch):
    """With --finetuning a new class replaces the head and nothing else."""
    begins = []
    train_cycle = main_al.train_cycle

    def record_and_train(experiment, state):
        experiment.learner.reset()
        weights = {k: v.clone() for k, v in experiment.learner.model.state_dict().items()}
        begins.append(weights)
        trained = train_cycle(experiment, state)
        begins.append({k: v.clone() for k, v in experiment.learner.model.state_dict().items()})
        return trained

    assert run("--finetuning")[0] == 3
    monkeypatch.setattr(main_al, "train_cycle", record_and_train)
    before = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["model"]
    answer(tmp_path / "run", "d8")
    assert run("--finetuning")[0] == 0
    start, end = begins
    backbone = [name for name in start if name.startswith("backbone.")]
    assert backbone and all(torch.equal(start[name], before[name]) for name in backbone)
    assert start["head.bias"].shape == (9,) and before["head.bias"].shape == (8,)
    assert any(not torch.equal(end[name], start[name]) for name in backbone)


def test_classes_without_images_come_last(tmp_path):
    """So that a new folder moves no number, wherever its name is in the alphabet."""
    add_images(tmp_path, "train/{b,c}/{1-3}.png", "test/{b,c}/4.png")
    before = list_image_folder(str(tmp_path))
    for name in ("a", "bb", "z"):
        (tmp_path / "train" / name).mkdir()
    after = list_image_folder(str(tmp_path))
    assert after.class_names == ("b", "c", "a", "bb", "z")
    assert after.labels.tolist() == before.labels.tolist()
    (tmp_path / "train" / "bb" / "sub").mkdir()
    add_images(tmp_path, "train/bb/sub/5.png")
    assert list_image_folder(str(tmp_path)).class_names == ("b", "bb", "c", "a", "z")


def finish(folder, run):
    run()
    answer(folder, "d8")
    assert run()[0] == 0


def predict_main(capsys, *words):
    status = predict.main([*map(str, words)])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    "change", [lambda d: d.rename(d.with_name("three")), lambda d: d.rename(d.with_name("zz"))]
)
def test_a_renamed_class_is_refused(tmp_path, photos, run, capsys, change):
    """Whether or not the order of the classes stays the same."""
    folder = tmp_path / "run"
    finish(folder, run)
    for part in ("train", "test"):
        change(photos / part / "d3")
    status, line = run()
    assert status == 2 and line.count("\n") == 1
    assert "with the class 'd3', which the data no longer have" in line and "--run-dir" in line
    assert "give the class its name back" in line
    status, _, line = predict_main(capsys, folder)
    assert status == 2 and line.count("\n") == 1 and "the class 'd3' is missing, the class" in line


def test_a_removed_class_is_refused(tmp_path, photos, run, capsys):
    """Also one that never had an image, and by the checkpoint if config.json is lost."""
    (photos / "train" / "empty").mkdir()
    folder = tmp_path / "run"
    run()
    (photos / "train" / "empty").rmdir()
    for name in (f"run folder {folder}", str(folder / "checkpoint.pt")):
        status, line = run()
        assert status == 2 and line.count("\n") == 1
        assert f"{name} was made with the class 'empty', which the data no longer have" in line
        (folder / "config.json").unlink(missing_ok=True)


def test_predictions_know_the_classes_of_the_run(tmp_path, photos, run, capsys):
    folder = tmp_path / "run"
    finish(folder, run)
    status, out, err = predict_main(capsys, folder)
    assert status == 0 and not err
    table = [line.split(",") for line in out.splitlines()]
    given = {row[2] for row in table[1:] if row[4] == "1"}
    assert "d8" in given and {row[2] for row in table[1:]} <= {f"d{n}" for n in range(9)}
    (photos / "train" / "aardvark").mkdir()
    status, again, err = predict_main(capsys, folder)
    assert status == 0 and again == out
    assert err == f"{folder} does not know the class 'aardvark', which is new\n"
    status, out, _ = predict_main(capsys, folder, "--images", photos / "unlabeled")
    assert status == 0 and ",d8," in out


def test_predict_says_what_has_changed_in_the_folder(tmp_path, photos, run, capsys):
    folder = tmp_path / "run"
    finish(folder, run)
    (photos / "train" / "d8").mkdir()
    moved = sorted((photos / "unlabeled").iterdir())
    moved[0].rename(photos / "train" / "d8" / moved[0].name)
    moved[1].unlink()
    status, _, line = predict_main(capsys, folder)
    assert status == 2 and line.count("\n") == 1
    assert "(now the class 'd8' is new, 158 training images instead of 159)" in line
    status, line = run()
    assert status == 2 and "on other data (without the class 'd8', fingerprint" in line


def test_class_names_of_an_array_keep_their_order(tmp_path, capsys):
    rng = np.random.default_rng(0)
    path, labels = tmp_path / "data.npz", np.arange(60) % 3
    arrays = {"images": rng.integers(256, size=(60, 8, 8, 1), dtype=np.uint8), "labels": labels}
    words = f"--dataset arrays --data-root {path} --run-dir {tmp_path / 'run'} --initial random"
    words += " --oracle file --al-budget 6 --al-nb-cycles 2 --epochs 1 --device cpu"
    status = []
    for names in (["a", "b", "c"], ["a", "c", "b"], ["a", "b", "c", "d"]):
        np.savez(path, class_names=names, **arrays)
        status.append(main_al.main(words.split()))
    lines = capsys.readouterr().err.splitlines()
    assert (
        status == [3, 2, 3] and "class 1 of the data is 'c', but the run began with 'b'" in lines[1]
    )
