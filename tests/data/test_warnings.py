"""What is right but not what one may think: files that are not the published ones, own splits."""

import hashlib
import json
import os

import pytest

import main_al
from data import DATASETS, generate_splits, splits
from data.download import checksums
from experiment import experiment
from tests.archives import WRITERS

SHORT = ["--al-budget", "10", "--al-nb-cycles", "1", "--epochs", "1", "--arch", "small_cnn"]
FOLDER = "cifar-100-python"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run main_al in a folder of its own; -> status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        return main_al.main([*SHORT, *(str(word) for word in words)]), *capsys.readouterr()

    return call


@pytest.fixture
def root(tmp_path):
    """A data root with a small CIFAR-100 of somebody's own."""
    WRITERS["cifar100"](tmp_path / "downloads")
    return tmp_path / "downloads"


@pytest.fixture(autouse=True)
def own_splits(tmp_path_factory, monkeypatch):
    """Splits that no other test meets."""
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path_factory.mktemp("own")))


@pytest.fixture
def split(own_splits):
    """Where the file of a split of ten digits would be."""
    path = splits.split_path("digits", 10, 57)
    path.parent.mkdir(parents=True)
    return path


def published(root):
    """The md5 with which the files as they are now would have been published."""
    names = DATASETS["cifar100"].published_md5
    return {name: hashlib.md5((root / name).read_bytes()).hexdigest() for name in names}


def notices(root, known):
    return checksums.checksum_warnings("cifar100", str(root), known)


def test_a_run_says_that_files_are_not_the_published_ones(run, root, monkeypatch):
    words = ("--dataset", "cifar100", "--data-root", root, "--run-dir", "mine")
    status, out, err = run(*words, "--al-budget", 20)
    line = f"cifar100 in {root / FOLDER}: train, test: not the published files, by their md5"
    assert status == 0 and err == "" and out.count(line) == 1
    assert (root.parent / "mine" / "log.txt").read_text().count(line) == 1
    assert (root / FOLDER / checksums.MD5_CACHE_FILE).exists()
    # What is remembered beside the data is none of them: the run is known without reading.
    monkeypatch.setattr(experiment, "open_dataset", lambda args: pytest.fail("read again"))
    assert "Finished before" in run(*words, "--al-budget", 20)[1]


def test_the_generator_says_so_too(root, capsys):
    words = ["--dataset", "cifar100", "--split-size", "20", "--nr-splits", "1"]
    assert generate_splits.main([*words, "--data-root", str(root)]) == 0
    assert capsys.readouterr().out.count("not the published files") == 1


def test_published_files_are_not_spoken_of(root, tmp_path):
    known = published(root)
    assert notices(root, known) == [] == notices(root, known)
    assert notices(tmp_path / "nowhere", known) == []
    assert (
        DATASETS["digits"].published_md5 == {}
        and checksums.checksum_warnings("digits", "", {}) == []
    )
    (root / FOLDER / "test").write_bytes(b"other")
    (line,) = notices(root, known)
    assert line.startswith(f"cifar100 in {root / FOLDER}: test: not the published files")


def test_files_that_changed_places_are_not_the_published_ones(root):
    known = published(root)
    first, second = known
    assert len(notices(root, {first: known[second], second: known[first]})) == 1


def test_md5_are_remembered_only_for_the_same_size_and_time(root):
    known = published(root)
    path, memory = root / FOLDER / "train", root / FOLDER / checksums.MD5_CACHE_FILE
    assert notices(root, known) == []
    content = bytearray(path.read_bytes())
    status = path.stat()
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert notices(root, known) == []  # forged to size and time: not read again
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert len(notices(root, known)) == 1
    assert json.loads(memory.read_text())["train"][1] == status.st_mtime_ns + 1
    path.write_bytes(content + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    remembered = json.loads(memory.read_text())
    remembered["train"][2] = known[f"{FOLDER}/train"]
    memory.write_text(json.dumps(remembered))
    assert len(notices(root, known)) == 1  # of another size


@pytest.mark.parametrize("content", [b"{torn", b"\xff", b"[1]", b'{"train": 3}', b"[" * 100000])
def test_a_memory_that_is_none_is_written_anew(content, root):
    known, memory = published(root), root / FOLDER / checksums.MD5_CACHE_FILE
    memory.write_bytes(content)
    assert notices(root, known) == []
    assert set(json.loads(memory.read_text())) == {"train", "test"}


def test_where_nothing_can_be_remembered_it_is_computed_again(root):
    known, memory = published(root), root / FOLDER / checksums.MD5_CACHE_FILE
    memory.mkdir()
    assert notices(root, known) == []
    (root / FOLDER / "test").write_bytes(b"other")
    assert len(notices(root, known)) == 1
    assert sorted(path.name for path in (root / FOLDER).iterdir()) == [memory.name, "test", "train"]


def test_the_md5_are_torchvisions():
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN

    for name, row in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        files = row.train_list + row.test_list
        expected = {f"{row.base_folder}/{file}": md5 for file, md5 in files}
        assert DATASETS[name].published_md5 == expected
    files = [SVHN.split_list[part] for part in ("train", "test")]
    assert DATASETS["svhn"].published_md5 == {f"SVHN/{file}": md5 for _, file, md5 in files}
    files = {f"MNIST/raw/{file.removesuffix('.gz')}" for file, _ in MNIST.resources}
    assert (
        set(DATASETS["mnist"].published_md5) == files
    )  # torchvision has the md5 of the packed ones
    assert DATASETS["fashion_mnist"].published_md5 == {}  # nobody else has


# ---- Splits


def test_a_split_of_the_users_own_is_said(run, split, tmp_path):
    labels = DATASETS["digits"].load_and_check("")[0].labels
    splits.write_split(split, labels, 10, 57)
    assert "your own" not in run("--split", 57, "--run-dir", "made")[1]
    for text in (
        splits.format_split(range(10), labels[:10]),  # other images
        "".join(reversed(split.read_text().splitlines(keepends=True))),  # in another order
    ):
        split.write_text(text)
        status, out, _ = run("--split", 57, "--run-dir", "own", "--resume", "False")
        line = f"split {split} is your own, not the one that is made for its number"
        assert status == 0 and out.count(line) == 1
        assert (tmp_path / "own" / "log.txt").read_text().count(line) == 1
    assert "your own" not in run("--split", 58, "--run-dir", "missing")[1]


def test_an_own_split_of_a_size_that_no_balanced_one_has(split):
    labels = DATASETS["digits"].load_and_check("")[0].labels
    split.write_text(splits.format_split(range(1437), labels))
    assert len(splits.split_warnings(split, labels, 1437, 57)) == 1


@pytest.mark.parametrize("kind", ["bytes", "folder"])
def test_a_split_that_is_no_text(kind, run, split, tmp_path, capsys):
    split.write_bytes(b"12 3\n\xff\xfe") if kind == "bytes" else split.mkdir()
    found = "is not text in UTF-8 (byte 5)" if kind == "bytes" else "cannot be read (Is a direct"
    status, _, line = run("--split", 57)
    assert status == 2 and line.count("\n") == 1 and not any(tmp_path.iterdir())
    assert f"split {split} {found}" in line and "a line an image is right" in line
    words = ["--dataset", "digits", "--split-size", "10", "--nr-splits", "58"]
    assert generate_splits.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"split {split} {found}" in line
