"""Who a run is: what may share a folder, what goes on, what is refused and in which words."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

import main_al
from data import DATASETS, splits
from data.active_dataset import VALIDATION_IMAGES_PER_CLASS, load_active_dataset
from data.spec import check_images
from experiment import identity
from experiment.checkpoint import load_checkpoint
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT

SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 1 --device cpu"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run main_al in a folder of its own; -> status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(words):
        try:
            status = main_al.main([*SHORT.split(), *words.split()])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def folders(tmp_path):
    return sorted(path.parent for path in tmp_path.glob("runs/**/checkpoint.pt"))


def other_pixels(monkeypatch):
    """The digits, one pixel of one image changed."""
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
    other_pixels(monkeypatch)
    status, out, _ = run("")
    assert status == 0 and "Finished before" not in out and len(folders(tmp_path)) == 2
    status, _, line = run("--run-dir mine")
    assert status == 2 and "run folder mine was made on other data (fingerprint " in line


def test_pretrained_weights_of_other_data_are_not_handed_out(run, tmp_path, monkeypatch):
    words = "--add-unsupervised-pretraining --pretraining-epochs 1"
    assert run(words)[0] == 0
    assert "pre-trained weights: " in run(f"{words} --split 1")[1]  # shared by the splits
    other_pixels(monkeypatch)
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
        assert status == 2 and "was made with other initial labels: name another" in line
    finally:
        path.unlink()


def test_changed_arithmetic_is_another_run(run, tmp_path, monkeypatch):
    assert run("")[0] == 0 and run("--run-dir mine")[0] == 0
    monkeypatch.setattr(identity, "RESULTS_VERSION", identity.RESULTS_VERSION + 1)
    assert "Finished before" not in run("")[1] and len(folders(tmp_path)) == 2
    status, _, line = run("--run-dir mine")
    assert (
        status == 2 and f"was made with results number {identity.RESULTS_VERSION - 1}, not" in line
    )


def test_the_number_of_the_results_is_the_changelogs():
    """Raised with every entry under "Changes results"."""
    changes = (ROOT / "CHANGELOG.md").read_text().split("### Changes results")[1:]
    parts = [part.split("\n##")[0] for part in changes]
    assert sum(part.count("\n- ") for part in parts) == identity.RESULTS_VERSION


def test_a_copied_checkpoint_is_refused(run, tmp_path):
    assert run("--run-dir one")[0] == 0 and run("--run-dir two --seed 8")[0] == 0
    shutil.copy(tmp_path / "one" / "checkpoint.pt", tmp_path / "two" / "checkpoint.pt")
    status, _, line = run("--run-dir two --seed 8")
    assert status == 2 and "checkpoint.pt was made with seed = 7, not 8: delete it" in line


def test_without_its_config_a_folder_still_says_whose_it_is(run, tmp_path):
    assert run("--run-dir one")[0] == 0
    (tmp_path / "one" / "config.json").unlink()
    status, _, line = run("--run-dir one --lr 0.1")
    assert status == 2 and "checkpoint.pt was made with lr = 0.2, not 0.1" in line
    assert "Finished before" in run("--run-dir one")[1]


def test_a_folder_from_before_there_were_identities_is_refused(run, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"lr": 0.2}\n')
    status, _, line = run("--run-dir old")
    assert status == 2 and "run folder old does not say whose it is: name another" in line


@pytest.mark.parametrize(
    "words", ["--out runs --exp-name a", "--checkpoint-epochs 1", "--data-root elsewhere"]
)
def test_what_does_not_move_a_run(run, tmp_path, words):
    """Paths, names and how often a checkpoint is written."""
    run("")
    run(words)
    names = {path.parent.name.removeprefix("a-") for path in folders(tmp_path)}
    assert len(names) == 1


def test_learning_anew_is_the_same_run(run, tmp_path):
    words = "--pretraining-epochs 1"
    run(f"{words} --add-unsupervised-pretraining")
    again = run(f"{words} --learn-unsupervised-pretraining")[1]
    assert "Finished before" in again and len(folders(tmp_path)) == 1


def test_splits_share_a_folder_and_names_tell(run, tmp_path):
    for words in ("", "--split 1", "--seed 8", "--exp-name trial", "--exp-name trial"):
        status, out, _ = run(words)
        assert status == 0
    assert "Finished before" in out
    parents = {path.parent for path in folders(tmp_path)}
    assert len(folders(tmp_path)) == 4 and len(parents) == 3
    plain = next(path.name for path in parents if (path / "split1").exists())
    assert {path.name for path in parents} > {plain, f"trial-{plain}"}


def test_a_finished_run_is_known_without_reading_the_data(run, monkeypatch):
    assert run("")[0] == 0 and run("--run-dir mine")[0] == 0

    def unread(*words):
        raise AssertionError("the data or the checkpoint was read")

    unreadable = dataclasses.replace(DATASETS["digits"], load=unread)
    with monkeypatch.context() as patch:
        patch.setitem(DATASETS, "digits", unreadable)
        patch.setattr("experiment.checkpoint.load_checkpoint", unread)
        for words in ("", "--run-dir mine", "--al-nb-cycles 1"):
            status, out, _ = run(words)
            assert status == 0 and "Finished before" in out and "top1" in out
        with pytest.raises(AssertionError, match="was read"):
            run("--al-nb-cycles 3")


def test_files_that_were_touched_are_read_again(run, tmp_path, archives):
    root = tmp_path / "downloads"
    shutil.copytree(archives, root)
    words = f"--dataset mnist --data-root {root} --arch small_cnn --run-dir mine"
    assert run(words)[0] == 0 and "Finished before" in run(words)[1]
    labels = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    os.utime(labels, ns=(1, 1))
    assert "Finished before" in run(words)[1]  # the same contents
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    labels.write_bytes(content)
    status, _, line = run(words)
    assert status == 2 and "was made " in line


def test_config_and_checkpoint_hold_the_identity(run, tmp_path):
    run("--run-dir mine --al-method jlp")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert load_checkpoint(tmp_path / "mine" / "checkpoint.pt")["identity"] == config["identity"]
    assert config["identity"]["options"]["lp_k"] == 10 == config["lp_k"]
    assert set(config["identity"]) == {"options", "data", "results", "initial"}


def test_a_resumed_run_ends_as_the_whole_one_does_beside_other_cycles(run, tmp_path):
    run("--run-dir whole --al-nb-cycles 3 --al-method jlp")
    run("--run-dir grown --al-nb-cycles 1 --al-method jlp")
    run("--run-dir grown --al-nb-cycles 3 --al-method jlp")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")


def test_the_pixels_are_held_once(home):
    """With a validation set too: what trains, what judges and what is pre-trained on share them."""
    options = {"split": 0, "size": 10, "rng": np.random.default_rng(0), "device": "cpu"}
    problem = load_active_dataset(DATASETS["digits"], "", name="digits", validation=True, **options)
    held = {problem.images.windows.untyped_storage().data_ptr()}
    held |= {problem.all_images.windows.untyped_storage().data_ptr()}
    held |= {problem.eval_sets["val_"][0].windows.untyped_storage().data_ptr()}
    assert len(held) == 1 and len(problem.images) == 1437 - 10 * VALIDATION_IMAGES_PER_CLASS
    storage = problem.all_images.windows.untyped_storage().nbytes()
    assert storage == 1437 * 10 * 10  # padded by one pixel
    assert problem.all_images.pixels.untyped_storage().data_ptr() in held
