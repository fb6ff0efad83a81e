"""What the system refuses: one line with the path, what is wrong and the space left, status 1; the
same command goes on when there is room again."""

import resource
import subprocess
from contextlib import contextmanager

import pytest

import main_al
from data import generate_splits
from tests.commands.test_main_al import MAIN, SHORT, assert_same_run

WORDS = (*SHORT, "--al-method", "coreset", "--device", "cpu", "--checkpoint-epochs", 1)
FILES = ("checkpoint.pt", "results.csv", "timing.csv", "environment.json", "log.txt")


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """The command, in this process; -> status, what it says on standard error."""
    monkeypatch.chdir(tmp_path)

    def start(*words, main=main_al.main):
        capfd.readouterr()
        return main([str(word) for word in words]), capfd.readouterr().err

    return start


def refused(done, path, why):
    """A command's one line, with the path and why."""
    status, told = done
    assert status == 1 and told.count("\n") == 1, told
    assert f"{path}" in told and why in told and (" left)" in told or "cannot be read: " in told)


@contextmanager
def tiny_disk(path, size):
    """A file system of so many bytes."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main_al.main([*map(str, WORDS), "--run-dir", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("size", [16384, 49152, 180224, 327680])
def test_a_full_disk(size, run, tmp_path, whole):
    """Too small for a lease's folder and tables, for a log, for one checkpoint, for two."""
    disk = tmp_path / "disk"
    with tiny_disk(disk, size):
        words = (*WORDS, "--run-dir", disk / "run")
        refused(run(*words), disk / "run", "No space left on device (")
        names = {path.name for path in (disk / "run").iterdir()} if (disk / "run").exists() else ()
        assert not [name for name in names if name.startswith(".") and name != ".lease"]
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert run(*words) == (0, "")
        assert_same_run(disk / "run", whole)


@pytest.mark.parametrize("limit", [1000, 60000])
def test_a_limit_of_file_size(limit, command, run, tmp_path, whole):
    """Too small for config.json; for the checkpoint."""
    words = (*WORDS, "--run-dir", tmp_path / "run")
    set_limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
    done = command("python", MAIN, *words, preexec_fn=set_limit)
    refused((done.returncode, done.stderr), tmp_path / "run", "File too large (")
    assert run(*words) == (0, "")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_where_a_file_should_be(name, run, tmp_path):
    (tmp_path / "run" / name).mkdir(parents=True)
    words = (*WORDS, "--run-dir", "run")
    deed = "read" if name == "checkpoint.pt" else "written"
    refused(run(*words), f"run/{name} cannot be {deed}", "Is a directory")
    (tmp_path / "run" / name).rmdir()
    assert run(*words)[0] == 0


@pytest.mark.parametrize(
    "words, path, why",
    [
        (["--out", "/dev/null"], "/dev/null", "Not a directory"),
        (["--out", "file"], "file", "Not a directory"),
        (["--out", "/proc/nowhere"], "/proc/nowhere", "No such file or directory"),
        (["--run-dir", "file"], "file", "Not a directory"),
        (["--run-dir", "n" * 300], "nnn", "File name too long"),
        (["--exp-name", "n" * 300], "nnn", "File name too long"),
        (["--out", "n" * 300], "nnn", "File name too long"),
    ],
)
def test_nothing_is_written_before_a_refusal(words, path, why, run, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run(*WORDS, *words), path, why)
    assert [place.name for place in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("root", ["/dev/null", "/proc/nowhere", "file"])
def test_a_split_that_cannot_be_written(root, run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AL_LABELS_ROOT", root)
    refused(run(*WORDS), root, "set AL_LABELS_ROOT")
    assert [place.name for place in tmp_path.iterdir()] == ["file"]
    words = ("--dataset", "digits", "--nr-splits", 1, "--split-size", 10)
    refused(run(*words, main=generate_splits.main), root, "cannot be written")


def test_an_immutable_folder(run, tmp_path):
    (tmp_path / "run").mkdir()
    seal = ["chattr", "+i", str(tmp_path / "run")]
    if subprocess.run(seal, capture_output=True, check=False).returncode:
        pytest.skip("the file system has no immutable folders")
    try:
        refused(run(*WORDS, "--run-dir", "run"), "run", "Operation not permitted")
    finally:
        subprocess.run(["chattr", "-i", str(tmp_path / "run")], check=True)
    assert not list((tmp_path / "run").iterdir())


def test_a_full_disk_in_the_cache_of_pretraining(run, tmp_path):
    disk = tmp_path / "disk"
    # What fills the disk after the first of its checkpoints.
    pre = ("--add-unsupervised-pretraining", "--pretraining-method", "deepcluster")
    pre += ("--pretraining-epochs", 3, "--arch", "small_cnn")
    words = (*WORDS, *pre, "--run-dir", "run", "--out", disk)
    with tiny_disk(disk, 700000):
        refused(run(*words), disk / "pretrained", "No space left on device (")
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert run(*words)[0] == 0
    assert (
        "pre-training on all images without their labels, from epoch 1"
        in (tmp_path / "run" / "log.txt").read_text()
    )
