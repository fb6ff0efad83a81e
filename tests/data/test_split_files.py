"""Where split files are, and warnings and errors about them."""

import json
import os
import shutil
from pathlib import Path

import pytest

import main_al
from data import DATASETS, generate_splits, splits
from experiment import setup
from reports.run_images import load_run_images
from tests.conftest import ROOT

SHORT = ["--al-budget", "10", "--al-nb-cycles", "1", "--epochs", "1", "--arch", "small_cnn"]
SHORT += ["--device", "cpu"]
SPLIT_57 = Path("digits", "10_balanced_labels", "57.txt")  # not among the shipped ones


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run main_al in an empty folder; -> status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        return main_al.main([*SHORT, *(str(word) for word in words)]), *capsys.readouterr()

    return call


@pytest.fixture
def labels_root(tmp_path_factory, monkeypatch):
    """An empty AL_LABELS_ROOT."""
    folder = tmp_path_factory.mktemp("labels")
    monkeypatch.setenv("AL_LABELS_ROOT", str(folder))
    return folder


@pytest.fixture
def without_labels_root(monkeypatch):
    monkeypatch.delenv("AL_LABELS_ROOT")


@pytest.fixture
def split(labels_root):
    """The path for a split of ten digits."""
    path = splits.split_path("digits", 10, 57)
    path.parent.mkdir(parents=True)
    return path


def digit_labels():
    return DATASETS["digits"].load_and_check("").train.labels


def snapshot(folder):
    """The files below a folder, with size and time."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- Where they are


def test_order_of_the_places(without_labels_root, tmp_path, monkeypatch):
    shipped = splits.SHIPPED_ROOT / "digits" / "10_balanced_labels" / "03.txt"
    assert splits.split_path("digits", 10, 3, str(tmp_path)) == shipped
    assert splits.split_path("digits", 10, 57, str(tmp_path)) == tmp_path / "splits" / SPLIT_57
    assert splits.split_path("digits", 10, 57) == splits.SHIPPED_ROOT / SPLIT_57
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "mine"))
    for number in (3, 57):
        path = tmp_path / "mine" / "digits" / "10_balanced_labels" / f"{number:02}.txt"
        assert splits.split_path("digits", 10, number, str(tmp_path)) == path
        assert splits.split_path("digits", 10, number) == path


@pytest.mark.parametrize("words, out", [(["--out", "mine"], "mine"), (["--run-dir", "r"], "runs")])
def test_missing_split_is_created_below_out(
    words, out, without_labels_root, run, tmp_path, monkeypatch
):
    before = snapshot(splits.SHIPPED_ROOT)
    status, output, _ = run("--split", 57, *words)
    path = tmp_path / out / "splits" / SPLIT_57
    assert status == 0 and f"created split {out}/splits/{SPLIT_57}\n" in output
    splits.write_split(tmp_path / "expected.txt", digit_labels(), 10, 57)
    assert path.read_bytes() == (tmp_path / "expected.txt").read_bytes()
    assert snapshot(splits.SHIPPED_ROOT) == before
    (config_file,) = (p for p in tmp_path.rglob("config.json"))
    config = json.loads(config_file.read_text())
    assert config["sources"][str(path)] == [path.stat().st_size, path.stat().st_mtime_ns]
    indices = [int(line.split()[0]) for line in path.read_text().splitlines()]
    assert load_run_images(config).initial_indices.tolist() == indices
    # The finished run is recognised without reading the data, unless the split has changed.
    with monkeypatch.context() as patch:
        patch.setattr(setup, "open_dataset", lambda options: pytest.fail("read again"))
        assert main_al.ALREADY_FINISHED_MESSAGE in run("--split", 57, *words)[1]
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    _, output, _ = run("--split", 57, *words, "--resume", "False")
    assert f"split {out}/splits/{SPLIT_57} is your own" in output


def test_shipped_split_is_used(without_labels_root, run, tmp_path, monkeypatch):
    status, output, _ = run("--split", 3, "--out", "mine")
    assert status == 0 and "created split" not in output
    assert not (tmp_path / "mine" / "splits").exists()
    (config_file,) = (p for p in tmp_path.rglob("config.json"))
    path = splits.SHIPPED_ROOT / "digits" / "10_balanced_labels" / "03.txt"
    assert str(path) in json.loads(config_file.read_text())["sources"]
    monkeypatch.setattr(setup, "open_dataset", lambda options: pytest.fail("read again"))
    assert main_al.ALREADY_FINISHED_MESSAGE in run("--split", 3, "--out", "mine")[1]


def test_labels_root_replaces_all_other_places(labels_root, run, tmp_path, monkeypatch):
    path = labels_root / "digits" / "10_balanced_labels" / "03.txt"
    status, output, _ = run("--split", 3, "--out", "mine")
    assert status == 0 and f"created split {path}\n" in output
    assert not (tmp_path / "mine" / "splits").exists()
    shipped = splits.SHIPPED_ROOT / "digits" / "10_balanced_labels" / "03.txt"
    assert path.read_bytes() == shipped.read_bytes()
    monkeypatch.setattr(setup, "open_dataset", lambda options: pytest.fail("read again"))
    assert main_al.ALREADY_FINISHED_MESSAGE in run("--split", 3, "--out", "mine")[1]


def test_run_writes_nothing_into_a_read_only_checkout(without_labels_root, command, tmp_path):
    checkout, work = tmp_path / "checkout", tmp_path / "work"
    work.mkdir()
    for package in {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}:
        shutil.copytree(ROOT / package, checkout / package)  # with bytecode, which saves seconds
    shutil.copy2(ROOT / "main_al.py", checkout)
    for path in [checkout, *checkout.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot(checkout)
    words = ["--al-budget", "10", "--al-nb-cycles", "1", "--epochs", "1", "--split", "57"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = command("python", checkout / "main_al.py", *words, cwd=work, env=environment)
    for path in [checkout, *checkout.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)  # so that pytest can delete it
    assert done.returncode == 0, done.stderr
    assert (work / "runs" / "splits" / SPLIT_57).exists()
    assert snapshot(checkout) == before  # root may write to read-only folders


# ---- Warnings and errors


def test_own_split_gives_a_warning(run, split, tmp_path):
    labels = digit_labels()
    splits.write_split(split, labels, 10, 57)
    assert "your own" not in run("--split", 57, "--run-dir", "generated")[1]
    for text in (
        splits.format_split(range(10), labels[:10]),  # other images
        "".join(reversed(split.read_text().splitlines(keepends=True))),  # another order
    ):
        split.write_text(text)
        status, out, _ = run("--split", 57, "--run-dir", "own", "--resume", "False")
        line = f"split {split} is your own"
        assert status == 0 and out.count(line) == 1
        assert (tmp_path / "own" / "log.txt").read_text().count(line) == 1
    assert "your own" not in run("--split", 58, "--run-dir", "missing")[1]


def test_own_split_of_a_size_that_no_balanced_split_has(split):
    labels = digit_labels()
    split.write_text(splits.format_split(range(1437), labels))
    assert len(splits.split_warnings(split, labels, 1437, 57)) == 1


@pytest.mark.parametrize("kind", ["bytes", "folder"])
def test_split_that_is_not_text_is_refused(kind, run, split, tmp_path, capsys):
    if kind == "bytes":
        split.write_bytes(b"12 3\n\xff\xfe")
    else:
        split.mkdir()
    problem = "is not UTF-8 text (byte 5)" if kind == "bytes" else "cannot be read (Is a direct"
    status, _, line = run("--split", 57)
    assert status == 2 and line.count("\n") == 1 and not any(tmp_path.iterdir())
    assert f"split {split} {problem}" in line
    words = ["--dataset", "digits", "--split-size", "10", "--nr-splits", "58"]
    assert generate_splits.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"split {split} {problem}" in line
