"""Warnings about files that are not the published ones, by their MD5."""

import hashlib
import json
import os

import pytest

import main_al
from data import DATASETS, generate_splits
from data.download import checksums
from experiment import setup
from tests.archives import WRITERS

SHORT = ["--al-budget", "20", "--al-nb-cycles", "1", "--epochs", "1", "--arch", "small_cnn"]
FOLDER = "cifar-100-python"


@pytest.fixture
def root(tmp_path):
    """A data root with a small CIFAR-100 that is not the published one."""
    WRITERS["cifar100"](tmp_path / "downloads")
    return tmp_path / "downloads"


def current_md5s(root):
    """The MD5 of the files as they are now, as if they had been published."""
    names = DATASETS["cifar100"].published_md5
    return {name: hashlib.md5((root / name).read_bytes()).hexdigest() for name in names}


def checksum_warnings(root, published):
    return checksums.checksum_warnings("cifar100", str(root), published)


def test_run_warns_about_files_that_are_not_the_published_ones(root, tmp_path, monkeypatch, capsys):
    run_folder = tmp_path / "run"
    words = [
        "--dataset",
        "cifar100",
        "--data-root",
        str(root),
        *SHORT,
        "--run-dir",
        str(run_folder),
    ]
    assert main_al.main(words) == 0
    captured = capsys.readouterr()
    line = f"cifar100 in {root / FOLDER}: train, test: not the published files"
    assert captured.err == "" and captured.out.count(line) == 1
    assert (run_folder / "log.txt").read_text().count(line) == 1
    assert (root / FOLDER / checksums.MD5_CACHE_FILE).exists()
    # The stored MD5 are not part of the data: the finished run is recognised without reading them.
    monkeypatch.setattr(setup, "open_dataset", lambda options: pytest.fail("read again"))
    assert main_al.main(words) == 0
    assert main_al.ALREADY_FINISHED_MESSAGE in capsys.readouterr().out


def test_generator_warns_too(root, capsys):
    words = ["--dataset", "cifar100", "--split-size", "20", "--nr-splits", "1"]
    assert generate_splits.main([*words, "--data-root", str(root)]) == 0
    assert capsys.readouterr().out.count("not the published files") == 1


def test_published_files_give_no_warning(root, tmp_path):
    published = current_md5s(root)
    assert checksum_warnings(root, published) == [] == checksum_warnings(root, published)
    assert checksum_warnings(tmp_path / "nowhere", published) == []
    assert DATASETS["digits"].published_md5 == {}
    assert checksums.checksum_warnings("digits", "", {}) == []
    (root / FOLDER / "test").write_bytes(b"other")
    (line,) = checksum_warnings(root, published)
    assert line.startswith(f"cifar100 in {root / FOLDER}: test: not the published files")


def test_swapped_files_are_not_the_published_ones(root):
    published = current_md5s(root)
    first, second = published
    swapped = {first: published[second], second: published[first]}
    assert len(checksum_warnings(root, swapped)) == 1


def test_stored_md5_is_used_only_for_the_same_size_and_time(root):
    published = current_md5s(root)
    path, cache_file = root / FOLDER / "train", root / FOLDER / checksums.MD5_CACHE_FILE
    assert checksum_warnings(root, published) == []
    content = bytearray(path.read_bytes())
    stat = path.stat()
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checksum_warnings(root, published) == []  # the same size and time: not read again
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert len(checksum_warnings(root, published)) == 1
    assert json.loads(cache_file.read_text())["train"][1] == stat.st_mtime_ns + 1
    path.write_bytes(content + b"\0")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    entries = json.loads(cache_file.read_text())
    entries["train"][2] = published[f"{FOLDER}/train"]
    cache_file.write_text(json.dumps(entries))
    assert len(checksum_warnings(root, published)) == 1  # another size: read again


@pytest.mark.parametrize("content", [b"{torn", b"\xff", b"[1]", b'{"train": 3}', b"[" * 100000])
def test_damaged_md5_cache_is_replaced(content, root):
    published, cache_file = current_md5s(root), root / FOLDER / checksums.MD5_CACHE_FILE
    cache_file.write_bytes(content)
    assert checksum_warnings(root, published) == []
    assert set(json.loads(cache_file.read_text())) == {"train", "test"}


def test_md5_is_computed_again_where_it_cannot_be_stored(root):
    published, cache_file = current_md5s(root), root / FOLDER / checksums.MD5_CACHE_FILE
    cache_file.mkdir()
    assert checksum_warnings(root, published) == []
    (root / FOLDER / "test").write_bytes(b"other")
    assert len(checksum_warnings(root, published)) == 1
    names = sorted(path.name for path in (root / FOLDER).iterdir())
    assert names == [cache_file.name, "test", "train"]


def test_published_md5_are_those_of_torchvision():
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN

    for name, reader in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        files = reader.train_list + reader.test_list
        expected = {f"{reader.base_folder}/{file}": md5 for file, md5 in files}
        assert DATASETS[name].published_md5 == expected
    parts = [SVHN.split_list[part] for part in ("train", "test")]
    assert DATASETS["svhn"].published_md5 == {f"SVHN/{file}": md5 for _, file, md5 in parts}
    # torchvision has only the MD5 of the packed files of these two.
    files = {f"MNIST/raw/{file.removesuffix('.gz')}" for file, _ in MNIST.resources}
    assert set(DATASETS["mnist"].published_md5) == files
    assert DATASETS["fashion_mnist"].published_md5 == {}
