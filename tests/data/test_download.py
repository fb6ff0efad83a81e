"""Data sets that arrive, over a network that does not want them to, and archives that lie."""

import collections
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision.datasets

from data import DATASETS
from data.download.checksums import MD5_CACHE_FILE
from data.download.http_fetch import DownloadLimits, download_archive
from data.download.install import install_dataset
from data.download.main import main
from data.download.published_files import paths_under_root
from data.download.unpack import unpack_archive
from data.spec import Archive
from tests.archives import _dump
from tests.conftest import ROOT
from tests.fake_server import NEVER, PASSING, STEADY, serving
from tests.waiting import wait_for
from utils import console, signals
from utils.errors import SystemRefusal

QUICK = DownloadLimits(
    timeout_seconds=0.5, stall_seconds=0.5, min_bytes=64, max_rounds=3, pause_seconds=0.001
)
SCENARIOS, AT_ONCE = 200, 16  # most of them wait


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def row(packed: dict[str, bytes], published: dict[str, bytes], addresses, name="cifar10"):
    """A row that is published as these archives, at these addresses."""
    archives = [
        Archive(path, md5(content), len(content), tuple(f"{a}/{path}" for a in addresses),
                tuple(published))
        for path, content in packed.items()
    ]  # fmt: skip
    sums = {path: md5(content) for path, content in published.items()}
    files = functools.partial(paths_under_root, names=sums)
    return dataclasses.replace(
        DATASETS[name], list_archives=lambda: archives, published_md5=sums, list_files=files
    )


def tar_gz(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return packed.getvalue()


def contents(root: Path) -> dict[str, bytes]:
    """All that is there, but what is remembered of it."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != MD5_CACHE_FILE]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# ---- 200 random ways


def scenario(rng):
    """-> archives, published files, plans of hosts, what is there before: path -> bytes."""
    content = rng.randbytes(rng.randint(500, 6000))
    kind = rng.choice(["plain", "gz", "tar.gz"])
    if kind == "plain":
        packed = published = {"SET/file.mat": content}
    elif kind == "gz":
        packed, published = {"SET/raw/file.gz": gzip.compress(content)}, {"SET/raw/file": content}
    else:
        published = {"set/a": content, "set/b": rng.randbytes(100)}
        packed = {"set.tar.gz": tar_gz({**published, "set/readme": b"more"})}
    ((path, whole),) = packed.items()
    plans = {}
    for number in range(rng.randint(1, 3)):
        first = rng.choices((*PASSING, *PASSING, *PASSING, *NEVER), k=rng.randint(0, 4))
        last = rng.choice(rng.choice([STEADY, STEADY, PASSING, NEVER]))
        plans[f"host{number}"] = [*first, last]
    place = rng.randrange(len(whole))
    other = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    there = rng.choice([None, None, whole[:place], other, other[:-9], whole, whole + b"more"])
    before = {}
    if there is not None:
        part = f".installing-set/{Path(path).name}.part"
        before[rng.choice([part, part, path, next(iter(published))])] = there
    return packed, published, plans, before


def must_arrive(plans) -> bool:
    """Is there a host that has the file before it was asked too often?"""
    return any(
        todo[-1] in STEADY and set(todo[:-1]) <= set(PASSING) and len(todo) <= QUICK.max_rounds
        for todo in plans.values()
    )


def outcome(seed: int, root: Path) -> str:
    root.mkdir()
    packed, published, plans, before = scenario(random.Random(seed))
    todo = {plan: list(misbehaviours) for plan, misbehaviours in plans.items()}
    with serving(packed, todo, seed) as host:
        try:
            return through(host, root, packed, published, plans, before)
        except Exception as error:
            raise AssertionError(f"the scenario of seed {seed}: {plans}, {[*before]}") from error


def through(host, root, packed, published, plans, before) -> str:
    spec = row(packed, published, [host.address(plan) for plan in plans])
    for path, content in before.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    error = None
    try:
        install_dataset("set", spec, str(root), limits=QUICK)
    except SystemRefusal as refused:
        error = str(refused)
        assert console.to_one_line(error) == error and "is not to be had" in error
        found = contents(root)
        for path, content in {**packed, **published}.items():  # right, or as it was
            assert found.get(path, content) in (content, before.get(path))
    assert not (error and must_arrive(plans)), error
    # The next command is in nobody's way.
    spec = row(packed, published, [host.address()])
    install_dataset("set", spec, str(root), limits=QUICK)
    found = contents(root)
    assert {path: found[path] for path in published} == published
    aside = {path for path in found if ".old" in path}
    assert all(found[path] in before.values() for path in aside)
    assert found.keys() - aside <= {*packed, *published, "set/readme"}
    assert not list(root.glob(".installing*"))
    return "gave up" if error else "had it"


def test_200_random_ways_to_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        signals, "_deferral_depth", 0
    )  # it counts for the one thread that gets signals
    seed = secrets.randbelow(2**32)
    with capsys.disabled():
        print(f"\n{SCENARIOS} scenarios from seed {seed}: ", end="", flush=True)
    roots = [tmp_path / str(number) for number in range(SCENARIOS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = collections.Counter(pool.map(outcome, range(seed, seed + SCENARIOS), roots))
    with capsys.disabled():
        print(dict(outcomes))
    assert outcomes["had it"] > SCENARIOS / 3 and outcomes["gave up"] > SCENARIOS / 20


# ---- One at a time


@pytest.fixture
def one(tmp_path):
    """An archive of random bytes; -> fetch it from these sources, and the path of the part."""
    content, part = random.Random(0).randbytes(5000), tmp_path / "file.part"

    def run(*sources, limits=QUICK):
        download_archive(
            Archive("SET/file", md5(content), len(content), (), ()), part, sources, limits
        )
        assert part.read_bytes() == content

    run.content, run.part_path = content, part
    return run


def test_the_rest_is_asked_for(one):
    one.part_path.write_bytes(one.content[:1234])
    with serving({"file": one.content}) as host:
        one(host.address() + "/file")
        assert host.asked == [("file", "bytes=1234-")]


def test_whole_and_right_before_anybody_is_asked(one):
    one.part_path.write_bytes(one.content)
    one("http://127.0.0.1:9/never-asked")


@pytest.mark.parametrize("there", [b"x" * 1234, b"x" * 5000, b"x" * 9000])
def test_a_rest_of_something_else_is_fetched_anew(one, there):
    one.part_path.write_bytes(there)
    with serving({"file": one.content}) as host:
        one(host.address() + "/file")
        assert host.asked[-1] == ("file", None) and len(host.asked) <= 2


def test_who_ignores_the_range_loses_nothing(one):
    """It sends all of it again, and less than there was before."""
    one.part_path.write_bytes(one.content[:4000])
    with serving({"file": one.content}, {"host": ["short", "good"]}) as host:
        host.random.randrange = lambda length: 1000
        one(host.address("host") + "/file")
        assert host.asked == [("file", "bytes=4000-")] * 2


@pytest.mark.parametrize("how", ["416", "other_range", "no_range_said"])
def test_who_has_no_rest_is_asked_for_all(one, how):
    one.part_path.write_bytes(one.content[:4000])
    with serving({"file": one.content}, {"host": [how, "good"]}) as host:
        one(host.address("host") + "/file")
        assert host.asked == [("file", "bytes=4000-"), ("file", None)]


def test_a_host_is_asked_on_as_long_as_it_gives(one):
    """Seven cuts in the first of the rounds; the second host is not asked."""
    with serving({"file": one.content}, {"host": ["cut"] * 7 + ["good"]}) as host:
        ends = iter(range(100, 800, 100))
        host.random.randrange = lambda length: next(ends)
        one(host.address("host") + "/file", host.address("other") + "/file")
        assert [ranged for _, ranged in host.asked[1:]] == [f"bytes={n}00-" for n in range(1, 8)]


def test_honest_hosts_are_not_blamed_for_the_bytes_of_others(one):
    with serving({"file": one.content}, {"liar": ["wrong_cut", "404"]}) as host:
        host.random.randrange = lambda length: 2000
        one(host.address("liar") + "/file", host.address() + "/file")
        rest = ("file", "bytes=2000-")
        assert host.asked == [("file", None), rest, rest, ("file", None)]


def test_a_host_that_gives_too_little_is_left(one, capsys):
    """A byte every 20 ms is no silence; all 5,000 would take two minutes."""
    with serving({"file": one.content}, {"host": ["trickle"]}) as host:
        one(host.address("host") + "/file", host.address() + "/file")
        assert len(host.asked) == 2 and host.asked[1][1].startswith("bytes=")
    assert " bytes in 0.5 s" in capsys.readouterr().out


def test_once_in_doubt_nothing_is_mixed(one):
    """Else the host would go on with the liar's piece a second time, and be blamed for it."""
    plans = {"liar": ["wrong_cut", "500", "wrong_cut", "404"], "host": ["good", "500", "good"]}
    with serving({"file": one.content}, plans) as host:
        host.random.randrange = lambda length: 2000
        one(host.address("liar") + "/file", host.address("host") + "/file")
        rest = "bytes=2000-"
        asked = [None, rest, rest, None, None, rest, None]
        assert [ranged for _, ranged in host.asked] == asked


@pytest.mark.parametrize("how", STEADY)
def test_a_host_that_has_it(one, how):
    with serving({"file": one.content}) as host:
        one(host.address(how) + "/file")


def test_pauses_grow(one):
    limits, begin = QUICK._replace(pause_seconds=0.1, max_rounds=3), time.monotonic()
    with serving({}, {"host": ["503"]}) as host, pytest.raises(SystemRefusal, match="503"):
        host.files["file"] = one.content
        one(host.address("host") + "/file", limits=limits)
        assert len(host.asked) == 3
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize(
    "how, words",
    [
        ("404", "404 Not Found"),
        ("circle", "infinite loop"),
        ("wrong", "other bytes than those that were published, by their md5"),
        ("html", "other bytes than"),
        ("more", "bytes, where 5000 were published"),
        ("ftp", "leads to ftp://127.0.0.1:9/file"),
        ("416", "416 "),
    ],
)
def test_what_cannot_become_right_is_asked_once(one, how, words):
    with serving({"file": one.content}, {"host": [how]}) as host:
        with pytest.raises(SystemRefusal, match=r"^file is not to be had: http") as refused:
            one(host.address("host") + "/file")
        assert words in str(refused.value) and len(host.asked) <= (5 if how == "circle" else 1)
    assert not one.part_path.exists() or not one.part_path.read_bytes()


def test_nobody_there_is_one_line(one):
    with pytest.raises(
        SystemRefusal, match=r"file is not to be had: .*Connection refused; .*No such"
    ):
        one("http://127.0.0.1:9/file", "/nowhere/file")


def test_a_file_that_cannot_be_written_is_no_fault_of_the_host(one):
    one.part_path.mkdir()
    refused = pytest.raises(SystemRefusal, match=r"file.part cannot be written: Is a directory")
    with serving({"file": one.content}) as host, refused:
        one(host.address() + "/file")


def test_without_a_terminal_a_line_a_minute(capsys, monkeypatch):
    monkeypatch.setattr(console, "PROGRESS_SECONDS", 0.0)
    with console.DownloadProgressBar("file", 50, 200) as shown:
        shown.update(50)
        shown.update(25)
    assert capsys.readouterr().out == "file: 50 % of 0.0 MiB\nfile: 62 % of 0.0 MiB\n"


# ---- Mirrors, and what is there already


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A CIFAR-10 of 120 images; -> its row, files and archive, both by their names."""
    rng, folder = np.random.default_rng(0), tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = rng.integers(256, size=(24, 3072), dtype=np.uint8)
        _dump(folder / name, pixels, labels=(np.arange(24) % 10).tolist())
    published = contents(folder.parent)
    shutil.rmtree(folder.parent)
    packed = {"cifar-10-python.tar.gz": tar_gz({**published, "cifar-10-batches-py/meta": b"m"})}
    found = row(packed, published, ["http://127.0.0.1:9"])
    monkeypatch.setitem(DATASETS, "cifar10", found)
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "labels"))
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(row=found, published=published, packed=packed)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_mirror_that_is_a_folder(cifar10, tmp_path, capsys):
    empty, mirror = write(tmp_path / "empty", {"x": b""}), write(tmp_path / "disk", cifar10.packed)
    words = ["cifar10", "--data-root", "here", "--mirror", str(empty), str(mirror)]
    assert main.main(words) == 0
    out = capsys.readouterr()
    assert out.err == "" and "empty/cifar-10-python.tar.gz: No such file" in out.out
    assert out.out.count(" written\n") == 5
    more = {"cifar-10-batches-py/meta": b"m"}
    assert contents(tmp_path / "here") == {**cifar10.published_md5, **cifar10.packed, **more}
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "cifar-10-batches-py", "cifar-10-python.tar.gz",
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")}
    assert main.main([*words[:3]]) == 0 and capsys.readouterr().err == ""  # and nobody asked
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")}


def test_mirrors_are_asked_in_their_order_and_before_the_published_host(tmp_path):
    files = {"SET/raw/file.gz": gzip.compress(b"right")}
    with serving({"file.gz": files["SET/raw/file.gz"], **files}) as host:
        spec = row(files, {"SET/raw/file": b"right"}, [host.address()])
        mirrors = [host.address("500"), host.address("404") + "/", str(tmp_path / "none")]
        install_dataset("set", spec, str(tmp_path / "root"), mirrors, QUICK)
        whole, end = "SET/raw/file.gz", "file.gz"
        assert [path for path, _ in host.asked] == [whole, end, whole, end, whole]
    assert contents(tmp_path / "root") == {**files, "SET/raw/file": b"right"}


@pytest.mark.parametrize("there", ["files", "archive"])
def test_what_is_there_already_is_used_as_it_is(there, cifar10, tmp_path):
    """Of torchvision, or by hand; the only host is not there."""
    files = cifar10.published_md5 if there == "files" else cifar10.packed
    root = write(tmp_path / "root", files)
    if there == "archive":
        write(root, {".installing-cifar10/cifar-10-python.tar.gz.part": b"begun before"})
    install_dataset("cifar10", cifar10.row, str(root), limits=QUICK)
    found = contents(root)
    assert cifar10.published_md5.items() <= found.items() and not list(root.glob(".inst*"))
    if there == "files":
        assert found == files


def test_only_what_is_missing_is_fetched(tmp_path):
    files = {"SET/train": b"train", "SET/test": b"test"}
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    with serving(packed) as host:
        spec = row(packed, files, [host.address()])
        single = [
            archive._replace(contents=(archive.path[:-3],)) for archive in spec.list_archives()
        ]
        spec = dataclasses.replace(spec, list_archives=lambda: single)
        install_dataset("set", spec, str(write(tmp_path, {"SET/train": b"train"})), limits=QUICK)
        assert host.asked == [("SET/test.gz", None)]


def test_what_is_not_the_published_file_is_kept(cifar10, tmp_path, capsys):
    name = "cifar-10-batches-py/data_batch_2"
    root = write(tmp_path / "root", {**cifar10.packed, name: b"mine", f"{name}.old1": b"older"})
    write(root, {"cifar-10-batches-py/meta": b"of no md5 that is known"})
    install_dataset("cifar10", cifar10.row, str(root), limits=QUICK)
    line = "is not the published file: it is data_batch_2.old2 from now on"
    assert line in capsys.readouterr().out
    found = contents(root)
    assert found[f"{name}.old2"] == b"mine" and found[f"{name}.old1"] == b"older"
    assert found["cifar-10-batches-py/meta"] == b"of no md5 that is known"
    assert cifar10.published_md5.items() <= found.items()


def test_a_file_whose_md5_only_its_archive_has(tmp_path, monkeypatch, capsys):
    packed = {"S/raw/one.gz": gzip.compress(b"content")}
    spec = dataclasses.replace(row(packed, {"S/raw/one": b"content"}, []), published_md5={})
    monkeypatch.setitem(DATASETS, "fashion_mnist", spec)
    words = ["fashion_mnist", "--data-root", str(tmp_path / "root"), "--verify"]
    assert main.main(words) == 1 and "missing" in capsys.readouterr().out
    write(tmp_path / "bad", {"S/raw/one.gz": packed["S/raw/one.gz"][::-1]})
    with pytest.raises(SystemRefusal, match="other bytes"):
        install_dataset("fashion_mnist", spec, str(tmp_path / "root"), [str(tmp_path / "bad")])
    install_dataset(
        "fashion_mnist", spec, str(tmp_path / "root"), [str(write(tmp_path / "good", packed))]
    )
    assert contents(tmp_path / "root") == {**packed, "S/raw/one": b"content"}
    assert main.main(words) == 0 and "present" in capsys.readouterr().out


def test_verify_says_what_is_there_and_downloads_nothing(cifar10, tmp_path, capsys):
    words = ["cifar10", "--data-root", "root", "--verify"]
    root = write(tmp_path / "root", cifar10.published_md5)
    assert main.main(words) == 0
    out = capsys.readouterr()
    assert out.err == "" and out.out.count("right   root/cifar-10-batches-py/") == 6
    path = root / "cifar-10-batches-py" / "data_batch_3"
    stamp = path.stat()
    path.write_bytes(bytes(stamp.st_size))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # what is remembered is not asked
    (path.parent / "test_batch").unlink()
    assert main.main(words) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and "run `sh data/install_datasets.sh cifar10`" in out.err
    lines = dict(reversed(line.split()) for line in out.out.splitlines())
    assert collections.Counter(lines.values()) == {"right": 4, "wrong": 1, "missing": 1}
    assert lines["root/cifar-10-batches-py/data_batch_3"] == "wrong"
    assert lines["root/cifar-10-batches-py/test_batch"] == "missing"


def test_one_that_cannot_be_had_does_not_keep_the_others(cifar10, tmp_path, capsys, monkeypatch):
    write(tmp_path / "downloads", cifar10.packed)
    gone = row({"SET/file": b"gone"}, {"SET/file": b"gone"}, [])
    monkeypatch.setitem(DATASETS, "mnist", gone)
    assert main.main(["mnist", "cifar10"]) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and "error: mnist could not be downloaded" in out.err
    assert out.out.count(" written\n") == 5


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--mirror", "nowhere"], "nowhere is neither an address (https://...) nor a folder"),
        (["--mirror", "ftp://host/"], "ftp://host/ is neither an address"),
        (["--mirror", "http://host", "cifar10"], "cifar10 is a data set; they are named before"),
        (["imagenet", "--verify"], "'imagenet' cannot be downloaded: choose from mnist, fashion"),
    ],
)
def test_bad_words(words, expected, capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(words)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and expected in line


def test_every_archive_is_torchvisions_and_holds_what_is_published():
    """Sizes are ours: torchvision has none."""
    for name in ("mnist", "svhn", "cifar10", "cifar100"):
        archives = DATASETS[name].list_archives()
        assert {file for archive in archives for file in archive.contents} == set(
            DATASETS[name].published_md5
        )
        assert all(archive.size > 4000 and archive.urls for archive in archives)
    assert len(DATASETS["mnist"].list_archives()[0].urls) == len(torchvision.datasets.MNIST.mirrors)
    for archive in DATASETS["svhn"].list_archives():
        assert DATASETS["svhn"].published_md5[archive.path] == archive.md5


# ---- Archives that lie


def link(name: str, kind=tarfile.SYMTYPE, to="../../outside") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


HOSTILE = [
    ({"../outside": b"x"}, [], "would be written elsewhere"),
    ({"set/../../outside": b"x"}, [], "would be written elsewhere"),
    ({"/tmp/al-outside": b"x"}, [], "would be written elsewhere"),
    ({"set\\..\\..\\outside": b"x"}, [], "would be written elsewhere"),
    ({"C:/outside": b"x"}, [], "would be written elsewhere"),
    ({}, [link("set/link")], "neither a file nor a folder"),
    ({}, [link("set/link", to="a")], "neither a file nor a folder"),
    ({}, [link("set/link", tarfile.LNKTYPE)], "neither a file nor a folder"),
    ({}, [link("set/fifo", tarfile.FIFOTYPE)], "neither a file nor a folder"),
    ({}, [link("set/device", tarfile.CHRTYPE)], "neither a file nor a folder"),
]


@pytest.mark.parametrize("files, members, expected", HOSTILE)
def test_a_tar_that_would_write_elsewhere_writes_nothing(files, members, expected, tmp_path):
    """Not even what comes before; by the whole installation, too."""
    packed = {"set.tar.gz": tar_gz({"set/a": b"fine", **files}, *members)}
    write(tmp_path, packed)
    with pytest.raises(SystemRefusal, match=f"{expected}: nothing of it is unpacked"):
        unpack_archive(tmp_path / "set.tar.gz", tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == [] and not Path("/tmp/al-outside").exists()
    root = write(tmp_path / "root", packed)
    with pytest.raises(SystemRefusal, match=expected):
        install_dataset("set", row(packed, {"set/a": b"fine"}, []), str(root), limits=QUICK)
    assert contents(root) == packed and [path.name for path in root.iterdir()] == ["set.tar.gz"]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["set.tar.gz", "file.gz"])
def test_an_archive_that_is_damaged(name, whole, tmp_path):
    content = tar_gz({"a": bytes(5000)}) if name == "set.tar.gz" else gzip.compress(bytes(5000))
    write(tmp_path, {name: b"something else" if whole else content[:-20]})
    with pytest.raises(SystemRefusal, match=rf"{name} cannot be unpacked: \w"):
        unpack_archive(tmp_path / name, tmp_path / "into")


def test_an_archive_of_other_files_than_the_published_ones(cifar10, tmp_path):
    """Its own md5 is right, as one that was forged would be."""
    name = "cifar-10-batches-py/data_batch_1"
    packed = {"cifar-10-python.tar.gz": tar_gz({**cifar10.published_md5, name: b"forged"})}
    with pytest.raises(SystemRefusal, match="holds another cifar-10-batches-py/data_batch_1 than"):
        install_dataset(
            "cifar10", row(packed, cifar10.published_md5, []), str(write(tmp_path / "r", packed))
        )
    packed = {"cifar-10-python.tar.gz": tar_gz({"readme": b""})}
    with pytest.raises(SystemRefusal, match=r"no archive of cifar10 holds the published .*_batch"):
        install_dataset(
            "cifar10", row(packed, cifar10.published_md5, []), str(write(tmp_path / "s", packed))
        )
    assert set(contents(tmp_path / "r")) == set(packed)


# ---- Processes

COMMAND = """
import dataclasses, json, sys
from data import DATASETS, download
from data.spec import Archive

packed, published = json.loads(sys.argv[1])
archives = [Archive(*fields) for fields in packed]
row = DATASETS["cifar10"]
DATASETS["cifar10"] = dataclasses.replace(row, list_archives=lambda: archives, published_md5=published)
sys.exit(download.main(["cifar10", "--data-root", "root"]))
"""


@pytest.fixture
def start(cifar10, tmp_path):
    """Start the command in a process of its own, for archives at this address; -> process."""

    def run(address):
        (archive,) = row(cifar10.packed, cifar10.published_md5, [address]).list_archives()
        what = json.dumps([[archive], cifar10.row.published_md5])
        words = [sys.executable, "-c", COMMAND, what]
        (tmp_path / "said").mkdir(exist_ok=True)
        process = subprocess.Popen(
            words,
            stdout=open(tmp_path / "said" / f"{len(run.all)}", "w"),  # noqa: SIM115
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        run.all.append(process)
        return process

    run.all = []
    yield run
    for process in run.all:
        process.kill()
        process.wait()


def test_killed_stopped_and_two_at_once(start, cifar10, tmp_path):
    """Four times the same command; every byte comes once."""
    part = tmp_path / "root" / ".installing-cifar10" / "cifar-10-python.tar.gz.part"
    expected = [None]
    with serving(cifar10.packed, pause=0.1) as host:
        for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
            process, before = start(host.address()), part.stat().st_size if part.exists() else 0
            wait_for(lambda before=before: part.exists() and part.stat().st_size > before + 9000)
            process.send_signal(number)
            _, error = process.communicate()
            assert process.returncode == status
            expected.append(f"bytes={part.stat().st_size}-")
        assert error == "install_datasets.sh: stopped by SIGTERM; the same command goes on\n"
        both = [start(host.address()), start(host.address())]
        said = [tmp_path / "said" / name for name in "23"]
        wait_for(lambda: any("cifar10: waiting, the folder" in path.read_text() for path in said))
        host.pause = 0
        for process in both:
            assert process.communicate()[1] == "" and process.returncode == 0
        assert [ranged for _, ranged in host.asked] == expected
    root = tmp_path / "root"
    found = contents(root)
    assert found.pop("cifar-10-batches-py/meta") == b"m"
    assert found == {**cifar10.published_md5, **cifar10.packed}
    assert len(list(root.iterdir())) == 2 and len(list((tmp_path / "labels").rglob("*.txt"))) == 5
