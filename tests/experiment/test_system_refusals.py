"""What the operating system refuses: one line with path, reason and free space, and status 1. The
same command resumes once there is room again."""

import functools
import resource
import subprocess
from contextlib import contextmanager

import pytest

import main_al
from data import generate_splits
from tests.commands.test_main_al import MAIN, SHORT, assert_same_run
from tests.forked import ForkedCommand

WORDS = (*SHORT, "--al-method", "coreset", "--device", "cpu", "--checkpoint-epochs", 1)
FILES = ("checkpoint.pt", "results.csv", "timing.csv", "environment.json", "log.txt")


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Run the command in this process; returns exit status and standard error."""
    monkeypatch.chdir(tmp_path)

    def start(*words, main=main_al.main):
        capfd.readouterr()
        return main([str(word) for word in words]), capfd.readouterr().err

    return start


def assert_refused(result, path, reason):
    """result: exit status and standard error, which must be one line with path and reason."""
    status, error = result
    assert status == 1 and error.count("\n") == 1, error
    assert f"{path}" in error and reason in error, error
    has_remedy = any(words in error for words in ("give another path", "move it away", " left)"))
    assert has_remedy or "cannot be read: " in error, error


@contextmanager
def tiny_disk(path, size):
    """A file system of this many bytes."""
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
    """Too small for lease and tables, for the log, for one checkpoint, for two."""
    disk = tmp_path / "disk"
    with tiny_disk(disk, size):
        words = (*WORDS, "--run-dir", disk / "run")
        assert_refused(run(*words), disk / "run", "No space left on device (")
        names = {path.name for path in (disk / "run").iterdir()} if (disk / "run").exists() else ()
        assert not [name for name in names if name.startswith(".") and name != ".lease"]
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert run(*words) == (0, "")
        assert_same_run(disk / "run", whole)


@pytest.mark.parametrize("limit", [1000, 60000])
def test_a_limit_of_file_size(limit, run, tmp_path, whole):
    """Too small for config.json; for the checkpoint."""
    words = (*WORDS, "--run-dir", tmp_path / "run")
    set_limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    process = ForkedCommand(MAIN, *words, prepare=set_limit)
    _, error = process.communicate()
    assert_refused((process.returncode, error), tmp_path / "run", "File too large (")
    assert run(*words) == (0, "")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_where_a_file_should_be(name, run, tmp_path):
    (tmp_path / "run" / name).mkdir(parents=True)
    words = (*WORDS, "--run-dir", "run")
    action = "read" if name == "checkpoint.pt" else "written"
    assert_refused(run(*words), f"run/{name} cannot be {action}", "Is a directory")
    (tmp_path / "run" / name).rmdir()
    assert run(*words)[0] == 0


@pytest.mark.parametrize(
    "words, path, reason",
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
def test_nothing_is_written_before_a_refusal(words, path, reason, run, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(run(*WORDS, *words), path, reason)
    assert [place.name for place in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("root", ["/dev/null", "/proc/nowhere", "file"])
def test_a_split_that_cannot_be_written(root, run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AL_LABELS_ROOT", root)
    assert_refused(run(*WORDS), root, "AL_LABELS_ROOT")
    assert [place.name for place in tmp_path.iterdir()] == ["file"]
    words = ("--dataset", "digits", "--nr-splits", 1, "--split-size", 10)
    assert_refused(run(*words, main=generate_splits.main), root, "cannot be written")


def test_an_immutable_folder(run, tmp_path):
    (tmp_path / "run").mkdir()
    make_immutable = ["chattr", "+i", str(tmp_path / "run")]
    if subprocess.run(make_immutable, capture_output=True, check=False).returncode:
        pytest.skip("the file system has no immutable folders")
    try:
        assert_refused(run(*WORDS, "--run-dir", "run"), "run", "Operation not permitted")
    finally:
        subprocess.run(["chattr", "-i", str(tmp_path / "run")], check=True)
    assert not list((tmp_path / "run").iterdir())


def test_a_full_disk_in_the_cache_of_pretraining(run, tmp_path):
    disk = tmp_path / "disk"
    # They fill the disk after the first checkpoint.
    pretraining = ("--add-unsupervised-pretraining", "--pretraining-method", "deepcluster")
    pretraining += ("--pretraining-epochs", 3, "--arch", "small_cnn")
    words = (*WORDS, *pretraining, "--run-dir", "run", "--out", disk)
    with tiny_disk(disk, 700000):
        assert_refused(run(*words), disk / "pretrained", "No space left on device (")
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert run(*words)[0] == 0
    assert "from epoch 1" in (tmp_path / "run" / "log.txt").read_text()
