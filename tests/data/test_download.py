"""Downloads from servers that misbehave, and archives that are damaged or malicious."""

import collections
import dataclasses
import functools
import gzip
import hashlib
import io
import os
import random
import secrets
import shutil
import signal
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data import DATASETS
from data.download.checksums import MD5_CACHE_FILE
from data.download.http_fetch import DownloadLimits, download_archive
from data.download.install import install_dataset
from data.download.main import main
from data.download.published_files import paths_under_root
from data.download.unpack import unpack_archive
from data.spec import Archive
from tests.archives import write_cifar_batch
from tests.fake_server import NEVER, PASSING, STEADY, serving
from tests.forked import fork_server
from tests.waiting import wait_for
from utils import console, signals
from utils.errors import SystemRefusal

QUICK = DownloadLimits(
    timeout_seconds=0.5, stall_seconds=0.5, min_bytes=64, max_rounds=3, pause_seconds=0.001
)
# A machine that is busy may let a good server wait for longer than QUICK allows.
PATIENT = QUICK._replace(timeout_seconds=300.0, stall_seconds=300.0)
SCENARIOS, THREADS = 200, 16  # most threads wait


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def make_spec(packed: dict[str, bytes], published: dict[str, bytes], urls, name="cifar10"):
    """A data set whose `published` files are in the archives `packed`, at these URLs."""
    archives = [
        Archive(path, md5(content), len(content), tuple(f"{url}/{path}" for url in urls),
                tuple(published))
        for path, content in packed.items()
    ]  # fmt: skip
    md5s = {path: md5(content) for path, content in published.items()}
    files = functools.partial(paths_under_root, names=md5s)
    return dataclasses.replace(
        DATASETS[name], list_archives=lambda: archives, published_md5=md5s, list_files=files
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
    """All files by name, without the stored MD5."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != MD5_CACHE_FILE]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# ---- Random scenarios


def draw_scenario(rng):
    """-> archives, published files, plans of servers, existing files: path -> bytes."""
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
        plans[f"server{number}"] = [*first, last]
    place = rng.randrange(len(whole))
    other = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    existing = rng.choice([None, None, whole[:place], other, other[:-9], whole, whole + b"more"])
    before = {}
    if existing is not None:
        part = f".installing-set/{Path(path).name}.part"
        before[rng.choice([part, part, path, next(iter(published))])] = existing
    return packed, published, plans, before


def must_arrive(plans) -> bool:
    """Whether a server delivers the file before it has failed too often."""
    return any(
        plan[-1] in STEADY and set(plan[:-1]) <= set(PASSING) and len(plan) <= QUICK.max_rounds
        for plan in plans.values()
    )


def run_scenario(seed: int, root: Path, limits: DownloadLimits = QUICK) -> str:
    """Where a good server was too slow for QUICK, the scenario is repeated with more patience."""
    root.mkdir()
    packed, published, plans, before = draw_scenario(random.Random(seed))
    remaining = {name: list(behaviours) for name, behaviours in plans.items()}
    with serving(packed, remaining, seed) as server:
        try:
            outcome = install_twice(server, root, packed, published, plans, before, limits)
        except Exception as error:
            raise AssertionError(f"the scenario of seed {seed}: {plans}, {[*before]}") from error
    if outcome == "failed" and must_arrive(plans):
        assert limits is QUICK, f"the scenario of seed {seed}: {plans}, {[*before]}"
        return run_scenario(seed, root.with_name(f"{root.name} again"), PATIENT)
    return outcome


def install_twice(server, root, packed, published, plans, before, limits) -> str:
    """Install from misbehaving servers, then from a good one; -> how the first attempt ended."""
    spec = make_spec(packed, published, [server.url(plan) for plan in plans])
    for path, content in before.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    error = None
    try:
        install_dataset("set", spec, str(root), limits=limits)
    except SystemRefusal as refusal:
        error = str(refusal)
        assert console.to_one_line(error) == error and "could not be downloaded" in error
        found = contents(root)
        for path, content in {**packed, **published}.items():  # correct, or unchanged
            assert found.get(path, content) in (content, before.get(path))
    # The next attempt must not be disturbed by what the first one left.
    spec = make_spec(packed, published, [server.url()])
    install_dataset("set", spec, str(root), limits=PATIENT)
    found = contents(root)
    assert {path: found[path] for path in published} == published
    aside = {path for path in found if ".old" in path}
    assert all(found[path] in before.values() for path in aside)
    assert found.keys() - aside <= {*packed, *published, "set/readme"}
    assert not list(root.glob(".installing*"))
    return "failed" if error else "installed"


def test_random_scenarios(tmp_path, capsys, monkeypatch):
    # The depth is a count for the main thread, and these threads would change it.
    monkeypatch.setattr(signals, "_deferral_depth", 0)
    seed = secrets.randbelow(2**32)
    with capsys.disabled():
        print(f"\n{SCENARIOS} scenarios from seed {seed}: ", end="", flush=True)
    roots = [tmp_path / str(number) for number in range(SCENARIOS)]
    with ThreadPoolExecutor(THREADS) as pool:
        seeds = range(seed, seed + SCENARIOS)
        outcomes = collections.Counter(pool.map(run_scenario, seeds, roots))
    with capsys.disabled():
        print(dict(outcomes))
    assert outcomes["installed"] > SCENARIOS / 3 and outcomes["failed"] > SCENARIOS / 20


# ---- One archive


@pytest.fixture
def download(tmp_path):
    """Download an archive of random bytes from these sources and compare it; also its `content`
    and the `part_path`."""
    content, part = random.Random(0).randbytes(5000), tmp_path / "file.part"

    def run(*sources, limits=PATIENT):
        download_archive(
            Archive("SET/file", md5(content), len(content), (), ()), part, sources, limits
        )
        assert part.read_bytes() == content

    run.content, run.part_path = content, part
    return run


def test_resumes_with_a_range_request(download):
    download.part_path.write_bytes(download.content[:1234])
    with serving({"file": download.content}) as server:
        download(server.url() + "/file")
        assert server.requests == [("file", "bytes=1234-")]


def test_complete_file_needs_no_request(download):
    download.part_path.write_bytes(download.content)
    download("http://127.0.0.1:9/not-requested")


@pytest.mark.parametrize("existing", [b"x" * 1234, b"x" * 5000, b"x" * 9000])
def test_partial_file_of_something_else_is_replaced(download, existing):
    download.part_path.write_bytes(existing)
    with serving({"file": download.content}) as server:
        download(server.url() + "/file")
        assert server.requests[-1] == ("file", None) and len(server.requests) <= 2


def test_server_that_ignores_the_range_loses_nothing(download):
    """It sends the file from the beginning, but less of it than there was before."""
    download.part_path.write_bytes(download.content[:4000])
    with serving({"file": download.content}, {"server": ["short", "good"]}) as server:
        server.random.randrange = lambda length: 1000
        download(server.url("server") + "/file")
        assert server.requests == [("file", "bytes=4000-")] * 2


@pytest.mark.parametrize("behaviour", ["416", "other_range", "no_content_range"])
def test_server_without_ranges_is_asked_for_the_whole_file(download, behaviour):
    download.part_path.write_bytes(download.content[:4000])
    with serving({"file": download.content}, {"server": [behaviour, "good"]}) as server:
        download(server.url("server") + "/file")
        assert server.requests == [("file", "bytes=4000-"), ("file", None)]


def test_server_is_asked_again_while_it_delivers(download):
    """Seven cuts in the first round; the second server gets no request."""
    with serving({"file": download.content}, {"server": ["cut"] * 7 + ["good"]}) as server:
        ends = iter(range(100, 800, 100))
        server.random.randrange = lambda length: next(ends)
        download(server.url("server") + "/file", server.url("other") + "/file")
        assert [requested for _, requested in server.requests[1:]] == [
            f"bytes={n}00-" for n in range(1, 8)
        ]


def test_wrong_bytes_of_one_server_do_not_exclude_another(download):
    with serving({"file": download.content}, {"liar": ["wrong_cut", "404"]}) as server:
        server.random.randrange = lambda length: 2000
        download(server.url("liar") + "/file", server.url() + "/file")
        rest = ("file", "bytes=2000-")
        assert server.requests == [("file", None), rest, rest, ("file", None)]


def test_slow_server_is_given_up(download, capsys):
    """A byte every 20 ms is no timeout; all 5,000 would take two minutes."""
    with serving({"file": download.content}, {"server": ["trickle"]}) as server:
        limits = PATIENT._replace(stall_seconds=QUICK.stall_seconds)
        download(server.url("server") + "/file", server.url() + "/file", limits=limits)
        assert len(server.requests) == 2 and server.requests[1][1].startswith("bytes=")
    assert " bytes in 0.5 s" in capsys.readouterr().out


def test_pieces_are_not_mixed_after_a_wrong_md5(download):
    """Otherwise the good server would resume the liar's piece a second time and be excluded."""
    plans = {"liar": ["wrong_cut", "500", "wrong_cut", "404"], "server": ["good", "500", "good"]}
    with serving({"file": download.content}, plans) as server:
        server.random.randrange = lambda length: 2000
        download(server.url("liar") + "/file", server.url("server") + "/file")
        rest = "bytes=2000-"
        expected = [None, rest, rest, None, None, rest, None]
        assert [requested for _, requested in server.requests] == expected


@pytest.mark.parametrize("behaviour", STEADY)
def test_server_that_has_the_file(download, behaviour):
    with serving({"file": download.content}) as server:
        download(server.url(behaviour) + "/file")


def test_pauses_grow(download):
    limits, begin = PATIENT._replace(pause_seconds=0.1, max_rounds=3), time.monotonic()
    with serving({}, {"server": ["503"]}) as server, pytest.raises(SystemRefusal, match="503"):
        server.files["file"] = download.content
        download(server.url("server") + "/file", limits=limits)
        assert len(server.requests) == 3
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize(
    "behaviour, reason",
    [
        ("404", "404 Not Found"),
        ("circle", "infinite loop"),
        ("wrong", "other MD5"),
        ("html", "other MD5"),
        ("more", "bytes instead of the published 5000"),
        ("ftp", "ftp://127.0.0.1:9/file"),
        ("416", "416 "),
    ],
)
def test_permanent_failures_are_not_retried(download, behaviour, reason):
    with serving({"file": download.content}, {"server": [behaviour]}) as server:
        with pytest.raises(SystemRefusal, match=r"^file could not be downloaded: http") as refusal:
            download(server.url("server") + "/file")
        assert reason in str(refusal.value)
        assert len(server.requests) <= (5 if behaviour == "circle" else 1)
    assert not download.part_path.exists() or not download.part_path.read_bytes()


def test_missing_sources_give_one_line(download):
    with pytest.raises(SystemRefusal, match=r"^file .*Connection refused; .*No such"):
        download("http://127.0.0.1:9/file", "/nowhere/file")


def test_failed_write_is_not_blamed_on_the_server(download):
    download.part_path.mkdir()
    refusal = pytest.raises(SystemRefusal, match=r"file.part cannot be written: Is a directory")
    with serving({"file": download.content}) as server, refusal:
        download(server.url() + "/file")


def test_progress_without_a_terminal_is_printed_at_intervals(capsys, monkeypatch):
    monkeypatch.setattr(console, "PROGRESS_SECONDS", 0.0)
    with console.DownloadProgressBar("file", 50, 200) as progress:
        progress.update(50)
        progress.update(25)
    assert capsys.readouterr().out == "file: 50 % of 0.0 MiB\nfile: 62 % of 0.0 MiB\n"


# ---- Mirrors, and existing files


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A CIFAR-10 of 144 images: its spec, files and archives, both by their names."""
    rng, folder = np.random.default_rng(0), tmp_path / "source" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = rng.integers(256, size=(24, 3072), dtype=np.uint8)
        write_cifar_batch(folder / name, pixels, labels=(np.arange(24) % 10).tolist())
    published = contents(folder.parent)
    shutil.rmtree(folder.parent)
    packed = {"cifar-10-python.tar.gz": tar_gz({**published, "cifar-10-batches-py/meta": b"m"})}
    spec = make_spec(packed, published, ["http://127.0.0.1:9"])
    monkeypatch.setitem(DATASETS, "cifar10", spec)
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "labels"))
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(spec=spec, published=published, packed=packed)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_mirror_may_be_a_folder(cifar10, tmp_path, capsys):
    empty, mirror = write(tmp_path / "empty", {"x": b""}), write(tmp_path / "disk", cifar10.packed)
    words = ["cifar10", "--data-root", "here", "--mirror", str(empty), str(mirror)]
    assert main(words) == 0
    out = capsys.readouterr()
    assert out.err == "" and "empty/cifar-10-python.tar.gz: No such file" in out.out
    assert out.out.count(" written\n") == 5
    meta = {"cifar-10-batches-py/meta": b"m"}
    assert contents(tmp_path / "here") == {**cifar10.published, **cifar10.packed, **meta}
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "cifar-10-batches-py", "cifar-10-python.tar.gz",
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")}
    assert main([*words[:3]]) == 0 and capsys.readouterr().err == ""  # without a request
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")}


def test_mirrors_are_tried_in_order_before_the_published_host(tmp_path):
    files = {"SET/raw/file.gz": gzip.compress(b"right")}
    with serving({"file.gz": files["SET/raw/file.gz"], **files}) as server:
        spec = make_spec(files, {"SET/raw/file": b"right"}, [server.url()])
        mirrors = [server.url("500"), server.url("404") + "/", str(tmp_path / "none")]
        install_dataset("set", spec, str(tmp_path / "root"), mirrors, PATIENT)
        whole, end = "SET/raw/file.gz", "file.gz"
        assert [path for path, _ in server.requests] == [whole, end, whole, end, whole]
    assert contents(tmp_path / "root") == {**files, "SET/raw/file": b"right"}


@pytest.mark.parametrize("existing", ["files", "archive"])
def test_existing_files_are_used(existing, cifar10, tmp_path):
    """Files from torchvision, or copied by hand; the only published host does not answer."""
    files = cifar10.published if existing == "files" else cifar10.packed
    root = write(tmp_path / "root", files)
    if existing == "archive":
        write(root, {".installing-cifar10/cifar-10-python.tar.gz.part": b"begun before"})
    install_dataset("cifar10", cifar10.spec, str(root), limits=PATIENT)
    found = contents(root)
    assert cifar10.published.items() <= found.items() and not list(root.glob(".inst*"))
    if existing == "files":
        assert found == files


def test_only_missing_files_are_downloaded(tmp_path):
    files = {"SET/train": b"train", "SET/test": b"test"}
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    with serving(packed) as server:
        spec = make_spec(packed, files, [server.url()])
        single = [
            archive._replace(contents=(archive.path[:-3],)) for archive in spec.list_archives()
        ]
        spec = dataclasses.replace(spec, list_archives=lambda: single)
        install_dataset("set", spec, str(write(tmp_path, {"SET/train": b"train"})), limits=PATIENT)
        assert server.requests == [("SET/test.gz", None)]


def test_file_that_is_not_the_published_one_is_renamed(cifar10, tmp_path, capsys):
    name = "cifar-10-batches-py/data_batch_2"
    root = write(tmp_path / "root", {**cifar10.packed, name: b"mine", f"{name}.old1": b"older"})
    write(root, {"cifar-10-batches-py/meta": b"without a published MD5"})
    install_dataset("cifar10", cifar10.spec, str(root), limits=PATIENT)
    assert f"{root / name} is not the published file" in (out := capsys.readouterr().out)
    assert "data_batch_2.old2" in out
    found = contents(root)
    assert found[f"{name}.old2"] == b"mine" and found[f"{name}.old1"] == b"older"
    assert found["cifar-10-batches-py/meta"] == b"without a published MD5"
    assert cifar10.published.items() <= found.items()


def test_file_without_a_published_md5(tmp_path, monkeypatch, capsys):
    packed = {"S/raw/one.gz": gzip.compress(b"content")}
    spec = dataclasses.replace(make_spec(packed, {"S/raw/one": b"content"}, []), published_md5={})
    monkeypatch.setitem(DATASETS, "fashion_mnist", spec)
    words = ["fashion_mnist", "--data-root", str(tmp_path / "root"), "--verify"]
    assert main(words) == 1 and "missing" in capsys.readouterr().out
    write(tmp_path / "bad", {"S/raw/one.gz": packed["S/raw/one.gz"][::-1]})
    with pytest.raises(SystemRefusal, match="other MD5"):
        install_dataset("fashion_mnist", spec, str(tmp_path / "root"), [str(tmp_path / "bad")])
    install_dataset(
        "fashion_mnist", spec, str(tmp_path / "root"), [str(write(tmp_path / "good", packed))]
    )
    assert contents(tmp_path / "root") == {**packed, "S/raw/one": b"content"}
    assert main(words) == 0 and "present" in capsys.readouterr().out


def test_verify_reports_every_file_and_downloads_nothing(cifar10, tmp_path, capsys):
    words = ["cifar10", "--data-root", "root", "--verify"]
    root = write(tmp_path / "root", cifar10.published)
    assert main(words) == 0
    out = capsys.readouterr()
    assert out.err == "" and out.out.count("right   root/cifar-10-batches-py/") == 6
    path = root / "cifar-10-batches-py" / "data_batch_3"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the stored MD5 are not used
    (path.parent / "test_batch").unlink()
    assert main(words) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and "run `sh data/install_datasets.sh cifar10`" in out.err
    lines = dict(reversed(line.split()) for line in out.out.splitlines())
    assert collections.Counter(lines.values()) == {"right": 4, "wrong": 1, "missing": 1}
    assert lines["root/cifar-10-batches-py/data_batch_3"] == "wrong"
    assert lines["root/cifar-10-batches-py/test_batch"] == "missing"


def test_data_set_that_fails_does_not_stop_the_others(cifar10, tmp_path, capsys, monkeypatch):
    write(tmp_path / "downloads", cifar10.packed)
    unavailable = make_spec({"SET/file": b"x"}, {"SET/file": b"x"}, [])
    monkeypatch.setitem(DATASETS, "mnist", unavailable)
    assert main(["mnist", "cifar10"]) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and "error: mnist could not" in out.err
    assert out.out.count(" written\n") == 5


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--mirror", "nowhere"], ("--mirror", "nowhere", "folder")),
        (["--mirror", "ftp://host/"], ("--mirror", "ftp://host/", "folder")),
        (["--mirror", "http://host", "cifar10"], ("--mirror", "cifar10 is a data set")),
        (["imagenet", "--verify"], ("'imagenet' cannot be downloaded", "mnist, fashion_mnist")),
    ],
)
def test_bad_arguments(words, expected, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and all(part in line for part in expected)


def test_archives_are_those_of_torchvision_and_contain_the_published_files():
    """Without the sizes, which torchvision does not have."""
    import torchvision.datasets  # takes a second, which the processes below do not need

    for name in ("mnist", "svhn", "cifar10", "cifar100"):
        archives = DATASETS[name].list_archives()
        assert {file for archive in archives for file in archive.contents} == set(
            DATASETS[name].published_md5
        )
        assert all(archive.size > 4000 and archive.urls for archive in archives)
    assert len(DATASETS["mnist"].list_archives()[0].urls) == len(torchvision.datasets.MNIST.mirrors)
    for archive in DATASETS["svhn"].list_archives():
        assert DATASETS["svhn"].published_md5[archive.path] == archive.md5


# ---- Damaged and malicious archives


def link(name: str, kind=tarfile.SYMTYPE, to="../../outside") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


HOSTILE = [
    ({"../outside": b"x"}, [], "outside the target folder"),
    ({"set/../../outside": b"x"}, [], "outside the target folder"),
    ({"/tmp/al-outside": b"x"}, [], "outside the target folder"),
    ({"set\\..\\..\\outside": b"x"}, [], "outside the target folder"),
    ({"C:/outside": b"x"}, [], "outside the target folder"),
    ({}, [link("set/link")], "neither a file nor a folder"),
    ({}, [link("set/link", to="a")], "neither a file nor a folder"),
    ({}, [link("set/link", tarfile.LNKTYPE)], "neither a file nor a folder"),
    ({}, [link("set/fifo", tarfile.FIFOTYPE)], "neither a file nor a folder"),
    ({}, [link("set/device", tarfile.CHRTYPE)], "neither a file nor a folder"),
]


@pytest.mark.parametrize("files, members, expected", HOSTILE)
def test_malicious_tar_writes_nothing(files, members, expected, tmp_path):
    """Not even its first, harmless member; the same for a whole installation."""
    packed = {"set.tar.gz": tar_gz({"set/a": b"fine", **files}, *members)}
    write(tmp_path, packed)
    with pytest.raises(SystemRefusal, match=f"{expected}; nothing was unpacked"):
        unpack_archive(tmp_path / "set.tar.gz", tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == [] and not Path("/tmp/al-outside").exists()
    root = write(tmp_path / "root", packed)
    with pytest.raises(SystemRefusal, match=expected):
        install_dataset("set", make_spec(packed, {"set/a": b"fine"}, []), str(root), limits=PATIENT)
    assert contents(root) == packed and [path.name for path in root.iterdir()] == ["set.tar.gz"]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["set.tar.gz", "file.gz"])
def test_damaged_archive(name, whole, tmp_path):
    content = tar_gz({"a": bytes(5000)}) if name == "set.tar.gz" else gzip.compress(bytes(5000))
    write(tmp_path, {name: b"something else" if whole else content[:-20]})
    with pytest.raises(SystemRefusal, match=rf"{name} cannot be unpacked: \w"):
        unpack_archive(tmp_path / name, tmp_path / "into")


def test_archive_of_other_files_than_the_published_ones(cifar10, tmp_path):
    """The archive has the expected MD5, as a forged one could have."""
    name = "cifar-10-batches-py/data_batch_1"
    packed = {"cifar-10-python.tar.gz": tar_gz({**cifar10.published, name: b"forged"})}
    with pytest.raises(SystemRefusal, match="contains cifar-10-batches-py/data_batch_1, but not"):
        install_dataset(
            "cifar10", make_spec(packed, cifar10.published, []), str(write(tmp_path / "r", packed))
        )
    packed = {"cifar-10-python.tar.gz": tar_gz({"readme": b""})}
    with pytest.raises(SystemRefusal, match=r"no archive of cifar10 .*_batch"):
        install_dataset(
            "cifar10", make_spec(packed, cifar10.published, []), str(write(tmp_path / "s", packed))
        )
    assert set(contents(tmp_path / "r")) == set(packed)


# ---- Processes


def run_command(archive, published_md5, folder, output):
    """install_datasets.sh for one data set in a process of its own; its output goes to files."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ["AL_LABELS_ROOT"] = f"{folder}/labels"
    DATASETS["cifar10"] = dataclasses.replace(
        DATASETS["cifar10"], list_archives=lambda: [archive], published_md5=published_md5
    )
    sys.exit(main(["cifar10", "--data-root", "root"]))


@pytest.fixture
def start(cifar10, tmp_path):
    """Start the command as a process, for an archive at this URL -> process, path of its output."""
    processes = []

    def run(url):
        (archive,) = make_spec(cifar10.packed, cifar10.published, [url]).list_archives()
        output = tmp_path / f"output {len(processes)}"
        process = fork_server().Process(
            target=run_command, args=(archive, cifar10.spec.published_md5, tmp_path, output)
        )
        process.start()
        processes.append(process)
        return process, output

    yield run
    for process in processes:
        process.kill()
        process.join()


def test_killed_stopped_and_parallel_processes(start, cifar10, tmp_path):
    """The same command four times; every byte is sent once."""
    part = tmp_path / "root" / ".installing-cifar10" / "cifar-10-python.tar.gz.part"
    expected = [None]
    with serving(cifar10.packed, pause=1.0) as server:  # minutes for the whole file
        for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
            before = part.stat().st_size if part.exists() else 0
            process, output = start(server.url())
            wait_for(lambda before=before: part.exists() and part.stat().st_size > before)
            os.kill(process.pid, number)
            process.join()
            assert process.exitcode == status
            expected.append(f"bytes={part.stat().st_size}-")
        error = Path(f"{output}.stderr").read_text()
        assert "install_datasets.sh: stopped by SIGTERM" in error and error.count("\n") == 1
        both = [start(server.url()), start(server.url())]
        wait_for(
            lambda: any(
                "cifar10: waiting" in path.read_text()
                for path in tmp_path.glob("output [23].stdout")
            )
        )
        server.pause = 0
        for process, output in both:
            process.join()
            assert process.exitcode == 0 and Path(f"{output}.stderr").read_text() == ""
        assert [requested for _, requested in server.requests] == expected
    root = tmp_path / "root"
    found = contents(root)
    assert found.pop("cifar-10-batches-py/meta") == b"m"
    assert found == {**cifar10.published, **cifar10.packed}
    assert len(list(root.iterdir())) == 2 and len(list((tmp_path / "labels").rglob("*.txt"))) == 5
