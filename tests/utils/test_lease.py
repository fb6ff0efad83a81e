"""One owner a folder: real processes, a foreign host by what it leaves, and a fight."""

import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

import main_al
from data.augment import ImageStore
from experiment import pretrained_cache
from experiment.run_folder import RunFolder
from models import create_model
from reports.runs import read_runs_below
from tests.conftest import ROOT
from tests.stress.lock_contention import fight
from utils import lease as lease_module
from utils import lease_wait, processes
from utils.errors import UserError
from utils.lease import FolderInUse, Lease, _live_owner
from utils.processes import host_info, is_process_alive, process_start_time

OTHER = {"host": "elsewhere", "boot": "b", "pids": 1, "pid": 17, "started": 3, "since": "noon"}

HOLD = """
import sys
from pathlib import Path
from tests.stress.lock_contention import pretend
from utils.errors import UserError
from experiment import lease

folder, host = sys.argv[1:3]
if host:
    pretend(host)
    lease.EXPIRES, lease.RENEW = 0.6, 0.05
held = lease.Lease(Path(folder), "folder")
print("held", flush=True)
for line in sys.stdin:
    if line == "fail\\n":
        raise UserError("no")
    try:
        held.require()
        print("ours", flush=True)
    except UserError as error:
        print(error, flush=True)
"""


@pytest.fixture
def hold():
    """Start processes that hold a folder; a line written to one is answered with "ours" or why
    not."""
    processes = []

    def begin(folder, host="", before=()):
        words = [*before, sys.executable, "-c", HOLD, str(folder), host]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def ask(process):
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def leave(folder, owner, number=1, age=0.0):
    """A lease as another process leaves it; age: seconds since it was renewed."""
    place = folder / ".lease" / str(number)
    place.mkdir(parents=True)
    path = place / "owner.json"
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


def numbers(folder):
    return sorted(int(path.name) for path in (folder / ".lease").iterdir())


def refused(folder):
    with pytest.raises(FolderInUse) as caught:
        Lease(folder, "folder")
    return str(caught.value)


def test_the_second_process_is_told_who_is_the_first(hold, tmp_path, capsys):
    """And what was killed is taken over at once, before anybody has waited for it."""
    folder = tmp_path / "run"
    process = hold(folder)
    before = sorted(folder.rglob("*"))
    assert main_al.main(["--run-dir", str(folder), "--al-budget", "10"]) == 2
    told = capsys.readouterr().err
    assert (
        f"run folder {folder} is in use by process {process.pid} on {host_info()['host']}" in told
    )
    assert " since 20" in told and told.count("\n") == 1
    assert sorted(folder.rglob("*")) == before and ask(process) == "ours"
    process.send_signal(signal.SIGSTOP)  # silent, but it lives
    assert f"process {process.pid} " in refused(folder)
    process.kill()
    deadline = time.monotonic() + 10
    while process_start_time(
        process.pid
    ):  # until the kernel has ended it; poll() would wait for it
        assert time.monotonic() < deadline
    with Lease(folder, "folder") as lease:
        assert lease.renew_if_held() and numbers(folder) == [2]
        told = refused(folder)
        assert f"process {os.getpid()} on {host_info()['host']} since 20" in told
        assert re.search(r" since 20[-+0-9: ]+$", told)


@pytest.mark.parametrize("end", ["", "fail\n"])
def test_it_is_given_back_at_the_end(hold, tmp_path, end):
    """A normal end, or an error's; another host needs not wait."""
    process = hold(tmp_path, "elsewhere")
    assert "process" in refused(tmp_path)
    process.communicate(end, timeout=10)
    assert (process.returncode != 0) == bool(end)
    assert Lease(
        tmp_path, "folder"
    ).renew_if_held()  # this object is garbage at once: given back, too
    assert Lease(tmp_path, "folder").renew_if_held()
    assert numbers(tmp_path) == [3] and not list(tmp_path.glob(".lease/3/owner.json"))


def test_another_host_is_dead_after_two_minutes(tmp_path):
    leave(tmp_path, OTHER, age=100)
    told = refused(tmp_path)
    assert "in use by process 17 on elsewhere since noon (silent for 100 s, " in told
    leave(tmp_path, OTHER, number=2, age=130)
    assert Lease(tmp_path, "folder").renew_if_held()


@pytest.mark.parametrize("change", [{"host": "h"}, {"boot": "b"}, {"pids": 1}, {"boot": ""}])
def test_who_is_not_of_this_host_boot_and_container_is_not_looked_up(tmp_path, change):
    """Its process id says nothing here: it lives as long as it renews."""
    leave(tmp_path, {**OTHER, **host_info(), "pid": os.getpid(), "started": -1, **change})
    assert "silent for 0 s" in refused(tmp_path)


def test_a_container(hold, tmp_path):
    """A process of another namespace, whose id is here another's."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    process = hold(tmp_path, before=alone)
    assert "process 1 on" in refused(tmp_path) and ask(process) == "ours"


def test_a_process_id_that_was_given_again_is_not_the_owner(tmp_path):
    owner = {**OTHER, **host_info(), "pid": os.getpid(), "started": process_start_time(os.getpid())}
    leave(tmp_path, owner)
    assert f"process {os.getpid()} " in refused(tmp_path)
    leave(tmp_path, {**owner, "started": owner["started"] - 1}, number=2)
    assert Lease(tmp_path, "folder").renew_if_held()


def test_who_is_gone_does_not_live():
    """Whatever is known of when it started."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert (
        not is_process_alive(process.pid, None)
        and not is_process_alive(process.pid, 1)
        and not is_process_alive(2**70, None)
    )
    assert is_process_alive(os.getpid(), None) and is_process_alive(
        os.getpid(), process_start_time(os.getpid())
    )
    assert (
        not is_process_alive(os.getpid(), process_start_time(os.getpid()) + 1)
        and process_start_time(process.pid) is None
    )


def test_a_thread_renews_it(tmp_path, monkeypatch):
    """Also after a file system that was away; it ends with the lease, and with its collection."""
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.01)
    away, real, seen = threading.Event(), Lease._renew, []

    def renew(lease):
        seen.append(threading.current_thread())
        if away.is_set():
            raise OSError("away")
        real(lease)

    monkeypatch.setattr(Lease, "_renew", renew)
    lease = Lease(tmp_path, "folder")
    path = tmp_path / ".lease" / "1" / "owner.json"

    def renewed() -> bool:
        os.utime(path, (0, 0))
        until = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        return path.stat().st_mtime > 0

    assert renewed() and renewed()
    away.set()
    count = len(seen)
    while len(seen) < count + 3:
        time.sleep(0.01)
    away.clear()
    assert renewed()
    thread = next(thread for thread in seen if thread is not threading.main_thread())
    assert thread.daemon
    del lease
    thread.join(20)
    assert not thread.is_alive() and (path.parent / "released.json").exists()


def test_another_was_faster(tmp_path, monkeypatch):
    """At a number, and by undoing the folder: it looks again."""
    take, make, calls = Lease._try_acquire, Lease._make_unnumbered, []

    def slow(lease):
        calls.append("take")
        return len(calls) > 1 and take(lease)

    def undone(lease):
        calls.append("make")
        if calls.count("make") == 1:
            raise FileNotFoundError
        return make(lease)

    monkeypatch.setattr(Lease, "_try_acquire", slow)
    monkeypatch.setattr(Lease, "_make_unnumbered", undone)
    assert Lease(tmp_path, "folder").renew_if_held() and calls == [
        "take",
        "take",
        "make",
        "take",
        "make",
    ]


def test_what_was_never_renamed_is_swept_when_it_is_old(tmp_path):
    root = tmp_path / ".lease"
    for name in ("new-old", "new-fresh"):
        (root / name).mkdir(parents=True)
    (root / "new-gone").symlink_to("nowhere")  # removed between two looks
    os.utime(root / "new-old", (0, 0))
    lease = Lease(tmp_path, "folder")
    assert (
        lease.renew_if_held() and not (root / "new-old").exists() and (root / "new-fresh").exists()
    )


def test_a_host_that_does_not_tell(monkeypatch):
    def refuse(*words):
        raise OSError

    monkeypatch.setattr(processes.os, "stat", refuse)
    assert host_info() == {"host": socket.gethostname(), "boot": "", "pids": 0}


@pytest.mark.parametrize(
    "name, state, threads, expected",
    [
        ("a", "S", 1, 77),
        ("a) b (c", "R", 1, 77),
        ("a", "Z", 1, 0),
        ("a", "Z", 2, 77),
        ("", "X", 1, 0),
    ],
)
def test_what_proc_says_of_a_process(monkeypatch, name, state, threads, expected):
    fields = ["0"] * 50
    fields[0], fields[17], fields[19] = state, str(threads), "77"
    text = f"12 ({name}) {' '.join(fields)}"
    monkeypatch.setattr(processes.Path, "read_text", lambda path: text)
    assert process_start_time(12) == expected


@pytest.mark.parametrize("content", [None, "", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_lease_without_owner(tmp_path, content):
    """What a loss of power leaves."""
    (tmp_path / ".lease" / "7").mkdir(parents=True)
    if content is not None:
        (tmp_path / ".lease" / "7" / "owner.json").write_text(content)
    lease = Lease(tmp_path, "folder")
    assert lease.renew_if_held() and numbers(tmp_path) == [8]


@pytest.mark.parametrize("content", [None, "", '{"pid": 1}'])
def test_an_ownerless_lease_is_marked(tmp_path, content):
    """Not empty, so that no other's is renamed onto it; one that is swept meanwhile is none."""
    place = tmp_path / "1"
    assert _live_owner(place, 0) is None and not place.exists()
    place.mkdir()
    if content is not None:
        (place / "owner.json").write_text(content)
    assert _live_owner(place, 0) is None
    assert (place / "released.json").exists()


def test_undone_leaves_no_trace(tmp_path):
    Lease(tmp_path, "folder").discard()
    assert not list(tmp_path.iterdir())
    lease = Lease(tmp_path / "run", "folder")
    shutil.rmtree(tmp_path / "run")  # by its user
    lease.discard()
    assert not list(tmp_path.iterdir())


def test_other_errors_are_told_as_what_they_are(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / ".lease").write_text("")
    (tmp_path / "in" / ".lease" / "1").mkdir(parents=True)
    (tmp_path / "in" / ".lease" / "1" / "owner.json").mkdir()
    for folder, path, why in (
        (tmp_path / "file", tmp_path / "file", "Not a directory"),
        (tmp_path, tmp_path / ".lease", "File exists"),
        (tmp_path / "in", tmp_path / "in" / ".lease" / "1" / "owner.json", "Is a directory"),
    ):
        with pytest.raises(UserError) as caught:
            Lease(folder, "run folder")
        told = str(caught.value)
        assert told.startswith(f"run folder {folder} cannot be written: {path}")
        assert f": {why} (" in told and told.endswith(" left)")
        assert not isinstance(caught.value, FolderInUse) and "in use" not in told
    assert numbers(tmp_path / "in") == [1]  # what the attempt made is gone
    told = Lease(tmp_path / "new", "folder")._write_refusal(OSError(28, "full"))  # of no path
    assert str(told).startswith(f"folder {tmp_path / 'new'} cannot be written: full (")


def open_run(folder, **more):
    return RunFolder(folder, {"identity": {"results": 1, "options": {}}}, device="cpu", **more)


def test_a_lost_lease_stops_its_owner_before_it_writes(tmp_path):
    run = open_run(tmp_path, resume=True)
    run.save_checkpoint({"state": {"number": 1}})
    before = {path: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert len(before) == 4  # three tables and the checkpoint
    leave(tmp_path, OTHER, number=2)
    run.table_rows["results"].append({"cycle": 0})
    for write in (
        lambda: run.save_checkpoint({"state": {"number": 2}}),
        lambda: run.record_finish({}, 1, ""),
    ):
        with pytest.raises(UserError, match="was taken over by process 17 on elsewhere since noon"):
            write()
    run.lease.release()
    assert before == {path: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert json.loads((tmp_path / ".lease" / "2" / "owner.json").read_text()) == OTHER


def test_a_late_owner_asks_for_the_next_number(tmp_path):
    """By the stamps of its renewals; it has lost the folder where that is another's or swept."""
    lease = Lease(tmp_path, "folder")
    for late, expected in ((59, [1]), (61, [1, 2]), (-1, [1, 2, 3])):
        lease._last_renewal_time -= late
        assert lease.renew_if_held() and numbers(tmp_path) == expected
        assert lease.renew_if_held() and numbers(tmp_path) == expected  # it is late once
    leave(tmp_path, OTHER, number=4)
    lease._last_renewal_time -= 61
    assert not lease.renew_if_held() and numbers(tmp_path) == [1, 2, 3, 4]
    shutil.rmtree(tmp_path / ".lease" / "3")
    assert not lease.renew_if_held()
    lease.release()  # what is gone
    assert (tmp_path / ".lease" / "4" / "owner.json").exists()


def test_lateness_is_remembered_until_it_is_asked_for(tmp_path, monkeypatch):
    """Its thread may renew it in time again meanwhile; two renewals in one tick are not late."""
    lease = Lease(tmp_path, "folder")
    lease._last_renewal_time -= 61
    lease._renew()
    lease._renew()
    assert lease.renew_if_held() and numbers(tmp_path) == [1, 2]
    monkeypatch.setattr(os, "utime", lambda path: None)
    assert lease.renew_if_held() and lease.renew_if_held() and numbers(tmp_path) == [1, 2]


def test_a_released_lease_stays_as_a_mark(tmp_path):
    with Lease(tmp_path, "folder") as lease:
        assert [path.name for path in tmp_path.glob(".lease/*/*")] == ["owner.json"]
    assert [path.name for path in tmp_path.glob(".lease/*/*")] == ["released.json"]
    assert (
        not lease.renew_if_held()
        and Lease(tmp_path, "folder").renew_if_held()
        and numbers(tmp_path) == [2]
    )


def test_an_owner_that_cannot_be_read_took_over(tmp_path):
    lease = Lease(tmp_path, "folder")
    leave(tmp_path, [], number=2)
    with pytest.raises(UserError, match=f"folder {tmp_path} was taken over by another process;"):
        lease.require_held()


def test_a_suspended_owner(hold, tmp_path):
    """It goes on where nobody came, and stops where another host has taken over."""
    owner = hold(tmp_path, "one")
    time.sleep(1.0)  # it is renewed: this is longer than it lasts
    assert ask(owner) == "ours" and numbers(tmp_path) == [1]
    owner.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    owner.send_signal(signal.SIGCONT)
    assert ask(owner) == "ours" and numbers(tmp_path) == [1, 2]  # asked for, as others would
    owner.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    other = hold(tmp_path, "two")
    owner.send_signal(signal.SIGCONT)
    assert f"taken over by process {other.pid} on two" in ask(owner)
    assert ask(other) == "ours" and "taken over" in ask(owner)
    owner.communicate(timeout=10)  # its end gives nothing of the other's back
    assert ask(other) == "ours" and numbers(tmp_path) == [3]


def test_who_gets_a_number_that_was_removed_withdraws(tmp_path):
    """It looked, fell asleep, and others have come, gone and swept since."""
    leave(tmp_path, OTHER, number=9)
    (tmp_path / ".lease" / "3").mkdir()
    slow = Lease(tmp_path / "elsewhere", "folder")
    slow._lease_root = tmp_path / ".lease"
    for number in (3, 4, 9):  # being removed, removed, and another's
        assert not slow._claim_number(*slow._make_unnumbered(), number)
    assert numbers(tmp_path) == [9]
    assert (tmp_path / ".lease" / "9" / "owner.json").read_text() == json.dumps(OTHER)


def test_a_lease_disturbs_nothing(tmp_path):
    """No random numbers are drawn, no thread stays, and the process may end."""
    before = random.getstate(), torch.get_rng_state().tolist()
    threads = threading.active_count()
    with Lease(tmp_path, "folder") as lease:
        lease.require_held()
    assert not lease.renew_if_held()
    after = random.getstate(), torch.get_rng_state().tolist()
    assert before == after
    deadline = time.monotonic() + 10
    while threading.active_count() > threads:
        assert time.monotonic() < deadline


def test_a_run_anew_keeps_its_lease(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").write_text("")  # of an earlier version
    with open_run(folder, resume=False) as run:
        run.save_checkpoint({"state": {}})
    assert not (tmp_path / "run.old1").exists()
    with open_run(folder, resume=False) as run:
        assert run.lease.renew_if_held() and run.last_checkpoint is None
        assert [path.name for path in folder.iterdir()] == [".lease"]
    aside = sorted(path.name for path in (tmp_path / "run.old1").iterdir())
    assert aside == ["acquired.csv", "checkpoint.pt", "results.csv", "timing.csv"]
    assert read_runs_below(folder) == ([], [])  # no run, and nothing to remark on


def learn(root, pretrain):
    model = create_model("small_cnn", 3, 1, 8)
    images = ImageStore(torch.zeros(12, 1, 8, 8, dtype=torch.uint8), [0.5], [0.5])
    row = SimpleNamespace(pretrain=pretrain, columns=("epoch", "loss"))
    who = {"options": {"dataset": "d", "arch": "a"}}
    return pretrained_cache.cache_folder(
        root, who
    ), lambda: pretrained_cache.load_or_pretrain_backbone(
        str(root), model, images, row, who, checkpoint_epochs=1
    )


def test_a_wait_for_weights_is_told_once(hold, tmp_path, monkeypatch):
    monkeypatch.setattr(lease_wait, "POLL_SECONDS", 0.05)
    folder, start = learn(tmp_path, lambda *_, **__: [{"epoch": 0, "loss": 0.5}])
    process, told = hold(folder), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    monkeypatch.setattr(pretrained_cache.log, "handlers", [handler])
    monkeypatch.setattr(pretrained_cache.log, "level", logging.INFO)
    threading.Timer(0.5, process.kill).start()
    begin = time.monotonic()
    start()
    assert time.monotonic() - begin > 0.4 and (folder / "weights.pt").exists()
    assert f"in use by process {process.pid} " in told[0] and "waiting" in told[0]
    assert [line.split()[0] for line in told] == [
        *("waiting", "pre-training", "features:"),
        *("pre-training", "pre-trained:"),  # which made nothing better
    ]


@pytest.mark.parametrize("epochs", [0, 1])
def test_who_lost_the_cache_writes_nothing(tmp_path, epochs):
    """Found at a checkpoint or at the end."""

    def pretrain(*_, after_epoch, **__):
        leave(folder, OTHER, number=2)
        for done in range(epochs):
            after_epoch(done + 1, {})
        return [{"epoch": 0, "loss": 0.5}]

    folder, start = learn(tmp_path, pretrain)
    with pytest.raises(UserError, match="was taken over by process 17"):
        start()
    assert [path.name for path in folder.iterdir()] == [".lease"]


def test_a_fight(tmp_path):
    found = fight(tmp_path / "fight", processes=4, rounds=10)
    assert found["begin"] == 40 and found["lost"] == 0
