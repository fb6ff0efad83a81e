"""The identity of a run: what shares a folder, what is resumed, and what is refused."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

import main_al
from data import DATASETS, splits
from data.active_dataset import VALIDATION_IMAGES_PER_CLASS, load_active_dataset
from data.images import check_images
from experiment import identity
from experiment.checkpoint import load_checkpoint
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from utils.errors import UserError

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 1 --device cpu"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run main_al in a fresh folder; returns exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(words):
        try:
            status = main_al.main([*SHORT.split(), *words.split()])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def run_folders(tmp_path):
    return sorted(path.parent for path in tmp_path.glob("runs/**/checkpoint.pt"))


def change_one_pixel(monkeypatch):
    """Replace the digits by a copy in which one pixel of one image differs."""
    train, test = DATASETS["digits"].load("")
    pixels = train.pixels.numpy().copy()
    pixels[700, 0, 3, 3] ^= 1
    changed = dataclasses.replace(
        DATASETS["digits"],
        load=lambda root: (check_images(pixels, train.labels), test),
        list_files=None,
    )
    monkeypatch.setitem(DATASETS, "digits", changed)


def test_other_data_is_another_run(run, tmp_path, monkeypatch):
    assert run("")[0] == 0 and run("--run-dir mine")[0] == 0
    change_one_pixel(monkeypatch)
    status, out, _ = run("")
    assert status == 0 and "Finished before" not in out and len(run_folders(tmp_path)) == 2
    status, _, line = run("--run-dir mine")
    assert status == 2 and "run folder mine" in line and "other data" in line


def test_pretrained_weights_of_other_data_are_not_used(run, tmp_path, monkeypatch):
    words = "--add-unsupervised-pretraining --pretraining-epochs 1"
    assert run(words)[0] == 0
    assert "pre-trained weights: " in run(f"{words} --split 1")[1]  # shared by the splits
    change_one_pixel(monkeypatch)
    assert "pre-training on all images" in run(words)[1]
    assert len(list(tmp_path.glob("runs/pretrained/digits/sized_cnn/*/weights.pt"))) == 2


def test_a_changed_split_file_is_another_run(run, home):
    path = splits.split_path("digits", 10, 61)
    assert run("--split 61 --run-dir mine")[0] == 0
    assert "Finished before" in run("--split 61 --run-dir mine")[1]
    labels = DATASETS["digits"].load("")[0].labels
    chosen = splits.draw_balanced_split(labels, 10, 62)
    path.write_text(splits.format_split(chosen, labels[chosen]))
    try:
        status, _, line = run("--split 61 --run-dir mine")
        assert status == 2 and "other initial labels" in line and "--run-dir" in line
    finally:
        path.unlink()


def test_changed_arithmetic_is_another_run(run, tmp_path, monkeypatch):
    assert run("")[0] == 0 and run("--run-dir mine")[0] == 0
    monkeypatch.setattr(identity, "RESULTS_VERSION", identity.RESULTS_VERSION + 1)
    assert "Finished before" not in run("")[1] and len(run_folders(tmp_path)) == 2
    status, _, line = run("--run-dir mine")
    assert status == 2
    assert f"results version {identity.RESULTS_VERSION - 1}" in line and "CHANGELOG.md" in line


def test_names_of_classes_may_only_grow():
    """They are in the identity, but never in the name of a folder."""

    def make(*names, data="1f"):
        return identity.make_identity({"lr": 1}, data, classes=list(names))

    before, digest = make("a", "b"), identity.identity_digest(make("a", "b"))
    earlier = identity.make_identity({"lr": 1}, "1f")  # of a version without the names
    assert digest == identity.identity_digest(earlier) == identity.identity_digest(make("c"))
    for now in (make("a", "b"), make("a", "c", "b"), earlier):
        assert identity.identity_difference(before, now) is None
        assert identity.identity_difference(earlier, now) is None
        identity.check_same_identity(before, now, "it", "stop")
    with pytest.raises(UserError) as refused:
        identity.check_same_identity(before, make("a", "x", data="2f"), "it", "stop")
    assert str(refused.value) == (
        "it was made with the class 'b', which the data no longer have: give the class its name "
        "back, or stop"
    )
    difference = identity.identity_difference(before, make("a", "b", "c", data="2f"))
    assert difference == "on other data (without the class 'c', fingerprint 1f, not 2f)"
    for names, cure in (("abc", "needs an empty folder"), ("ab", "put the data back as they were")):
        with pytest.raises(UserError, match=cure):
            identity.check_same_identity(before, make(*names, data="2f"), "it", "stop")


def test_results_version_is_the_number_of_changelog_entries():
    """It is raised with every entry under "Changes results"."""
    changes = (ROOT / "CHANGELOG.md").read_text().split("### Changes results")[1:]
    parts = [part.split("\n##")[0] for part in changes]
    assert sum(part.count("\n- ") for part in parts) == identity.RESULTS_VERSION


def test_a_copied_checkpoint_is_refused(run, tmp_path):
    assert run("--run-dir one")[0] == 0 and run("--run-dir two --seed 8")[0] == 0
    shutil.copy(tmp_path / "one" / "checkpoint.pt", tmp_path / "two" / "checkpoint.pt")
    status, _, line = run("--run-dir two --seed 8")
    assert status == 2 and "checkpoint.pt" in line and "seed = 7, not 8" in line


def test_the_checkpoint_has_the_identity_even_without_config_json(run, tmp_path):
    assert run("--run-dir one")[0] == 0
    (tmp_path / "one" / "config.json").unlink()
    status, _, line = run("--run-dir one --lr 0.1")
    assert status == 2 and "checkpoint.pt" in line and "lr = 0.2, not 0.1" in line
    assert "Finished before" in run("--run-dir one")[1]


def test_a_folder_without_an_identity_is_refused(run, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"lr": 0.2}\n')
    status, _, line = run("--run-dir old")
    assert status == 2 and "run folder old" in line and "--run-dir" in line


@pytest.mark.parametrize(
    "words", ["--out runs --exp-name a", "--checkpoint-epochs 1", "--data-root elsewhere"]
)
def test_options_that_do_not_change_the_identity(run, tmp_path, words):
    """Paths, names and the interval of checkpoints."""
    run("")
    run(words)
    names = {path.parent.name.removeprefix("a-") for path in run_folders(tmp_path)}
    assert len(names) == 1


def test_repeating_the_pretraining_is_the_same_run(run, tmp_path):
    words = "--pretraining-epochs 1"
    run(f"{words} --add-unsupervised-pretraining")
    again = run(f"{words} --learn-unsupervised-pretraining")[1]
    assert "Finished before" in again and len(run_folders(tmp_path)) == 1


def test_splits_share_a_folder_and_names_are_part_of_it(run, tmp_path):
    for words in ("", "--split 1", "--seed 8", "--exp-name trial", "--exp-name trial"):
        status, out, _ = run(words)
        assert status == 0
    assert "Finished before" in out
    parents = {path.parent for path in run_folders(tmp_path)}
    assert len(run_folders(tmp_path)) == 4 and len(parents) == 3
    plain = next(path.name for path in parents if (path / "split1").exists())
    assert {path.name for path in parents} > {plain, f"trial-{plain}"}


def test_a_finished_run_is_recognised_without_reading_the_data(run, monkeypatch):
    assert run("")[0] == 0 and run("--run-dir mine")[0] == 0

    def fail(*words):
        raise AssertionError("the data or the checkpoint was read")

    unreadable = dataclasses.replace(DATASETS["digits"], load=fail)
    with monkeypatch.context() as patch:
        patch.setitem(DATASETS, "digits", unreadable)
        patch.setattr("experiment.checkpoint.load_checkpoint", fail)
        for words in ("", "--run-dir mine", "--al-nb-cycles 1"):
            status, out, _ = run(words)
            assert status == 0 and "Finished before" in out and "top1" in out
        with pytest.raises(AssertionError, match="was read"):
            run("--al-nb-cycles 3")


def test_touched_files_are_read_again(run, tmp_path, archives):
    root = tmp_path / "downloads"
    shutil.copytree(archives, root)
    words = f"--dataset mnist --data-root {root} --arch small_cnn --run-dir mine"
    assert run(words)[0] == 0 and "Finished before" in run(words)[1]
    labels = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    os.utime(labels, ns=(1, 1))
    assert "Finished before" in run(words)[1]  # the contents are the same
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    labels.write_bytes(content)
    status, _, line = run(words)
    assert status == 2 and "was made " in line


def test_config_and_checkpoint_contain_the_identity(run, tmp_path):
    run("--run-dir mine --al-method jlp")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert load_checkpoint(tmp_path / "mine" / "checkpoint.pt")["identity"] == config["identity"]
    assert config["identity"]["options"]["lp_k"] == 10 == config["lp_k"]
    assert set(config["identity"]) == {"options", "data", "results", "initial"}


def test_more_cycles_later_give_the_same_bytes(run, tmp_path):
    run("--run-dir whole --al-nb-cycles 3 --al-method jlp")
    run("--run-dir extended --al-nb-cycles 1 --al-method jlp")
    run("--run-dir extended --al-nb-cycles 3 --al-method jlp")
    assert_same_run(tmp_path / "extended", tmp_path / "whole")


def test_pixels_are_stored_once(home):
    """Training, validation and pre-training share them."""
    options = {"split": 0, "size": 10, "rng": np.random.default_rng(0), "device": "cpu"}
    dataset = load_active_dataset(DATASETS["digits"], "", name="digits", validation=True, **options)
    storages = {dataset.images.windows.untyped_storage().data_ptr()}
    storages |= {dataset.all_images.windows.untyped_storage().data_ptr()}
    storages |= {dataset.eval_sets["val_"][0].windows.untyped_storage().data_ptr()}
    assert len(storages) == 1 and len(dataset.images) == 1437 - 10 * VALIDATION_IMAGES_PER_CLASS
    bytes_stored = dataset.all_images.windows.untyped_storage().nbytes()
    assert bytes_stored == 1437 * 10 * 10  # padded by one pixel
    assert dataset.all_images.pixels.untyped_storage().data_ptr() in storages
