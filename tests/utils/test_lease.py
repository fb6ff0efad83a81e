"""One owner per folder: real processes, other hosts by the files they leave, and a contest."""

import contextlib
import functools
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
from hypothesis import given
from hypothesis import strategies as st

import main_al
from data.augment import ImageStore
from experiment import pretrained_cache
from experiment.run_folder import RunFolder
from models import create_model
from reports.runs import read_runs_below
from tests.conftest import ROOT
from tests.damage import Reader, read_damaged
from tests.examples import examples
from tests.stress.lock_contention import compete
from tests.waiting import wait_for
from utils import lease as lease_module
from utils import processes
from utils.errors import UserError
from utils.lease import FolderInUse, Lease, _live_owner
from utils.processes import host_info, is_process_alive, process_start_time

OTHER = {"host": "elsewhere", "boot": "b", "pids": 1, "pid": 17, "started": 3, "since": "noon"}

HOLD = """
import sys
from pathlib import Path
from tests.stress.lock_contention import pretend_host
from utils import lease
from utils.errors import UserError

folder, host = sys.argv[1:3]
if host:
    pretend_host(host)
    lease.EXPIRY_SECONDS, lease.RENEWAL_SECONDS = 1.5, 0.1
owned = lease.Lease(Path(folder), "folder")
print("acquired", flush=True)
for line in sys.stdin:
    if line == "fail\\n":
        raise UserError("no")
    try:
        owned.require_held()
        print("ours", flush=True)
    except UserError as error:
        print(error, flush=True)
"""
EXPIRY_OF_HOSTS = 1.5  # seconds, as above


@pytest.fixture
def hold():
    """Start processes that hold a folder.  They answer a line with "ours" or the error.

    host: the host that the process pretends to be on, where leases expire sooner."""
    processes = []

    def begin(folder, host="", before=()):
        words = [*before, sys.executable, "-c", HOLD, str(folder), host]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        processes.append(process)
        assert process.stdout.readline() == "acquired\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def ask(process):
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def write_lease(folder, owner, number=1, age=0.0):
    """A lease as another process leaves it.  age: seconds since its last renewal."""
    place = folder / ".lease" / str(number)
    place.mkdir(parents=True)
    path = place / "owner.json"
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


def lease_numbers(folder):
    return sorted(int(path.name) for path in (folder / ".lease").iterdir())


def refusal(folder):
    with pytest.raises(FolderInUse) as caught:
        Lease(folder, "folder")
    return str(caught.value)


def test_the_error_names_the_owner(hold, tmp_path, capsys):
    """The lease of a killed process can be taken over at once, before its parent has waited."""
    folder = tmp_path / "run"
    process = hold(folder)
    before = sorted(folder.rglob("*"))
    assert main_al.main(["--run-dir", str(folder), "--al-budget", "10"]) == FolderInUse.exit_code
    line = capsys.readouterr().err
    owner = f"process {process.pid} on {host_info()['host']} since 20"
    assert f"run folder {folder} is in use by {owner}" in line and line.count("\n") == 1
    assert sorted(folder.rglob("*")) == before and ask(process) == "ours"
    process.send_signal(signal.SIGSTOP)  # it does not renew its lease, but is alive
    assert f"process {process.pid} " in refusal(folder)
    process.kill()
    # Until the kernel has ended it; its parent has not waited for it yet, as poll() would.
    wait_for(lambda: not process_start_time(process.pid))
    with Lease(folder, "folder") as lease:
        assert lease.renew_if_held() and lease_numbers(folder) == [2]
        message = refusal(folder)
        assert f"process {os.getpid()} on {host_info()['host']} since 20" in message
        assert re.search(r" since 20[-+0-9: ]+$", message)


@pytest.mark.parametrize("end", ["", "fail\n"])
def test_released_at_the_end_of_a_process(hold, tmp_path, end):
    """A normal end or an error; other hosts need not wait for its expiry."""
    process = hold(tmp_path, "elsewhere")
    assert "process" in refusal(tmp_path)
    process.communicate(end, timeout=600)
    assert (process.returncode != 0) == bool(end)
    # This object is garbage at once, and with it its lease.
    assert Lease(tmp_path, "folder").renew_if_held()
    assert Lease(tmp_path, "folder").renew_if_held()
    assert lease_numbers(tmp_path) == [3] and not list(tmp_path.glob(".lease/3/owner.json"))


def test_another_host_is_dead_after_two_minutes(tmp_path):
    write_lease(tmp_path, OTHER, age=60)
    owner = r"in use by process 17 on elsewhere since noon \(silent for (\d+) s, "
    assert 60 <= int(re.search(owner, refusal(tmp_path))[1]) < 120
    write_lease(tmp_path, OTHER, number=2, age=130)
    assert Lease(tmp_path, "folder").renew_if_held()


def test_a_renewal_in_the_future_counts_from_the_next_look(tmp_path):
    """The file server's clock was set back; the owner, if it lives, renews within its interval."""
    write_lease(tmp_path, OTHER, age=-1_000_000)
    assert "(silent for 0 s, taken over after 120 s)" in refusal(tmp_path)
    owner_file = tmp_path / ".lease" / "1" / "owner.json"
    assert owner_file.stat().st_mtime < time.time() + 10
    os.utime(owner_file, (time.time() - 130,) * 2)
    assert Lease(tmp_path, "folder").renew_if_held()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**OTHER, "pid": float("inf")}),
        json.dumps({**host_info(), "pid": 0, "started": None, "since": "x"}),
        json.dumps({**host_info(), "pid": -1, "started": None, "since": "x"}),
        "[" * 100_000,
    ],
)
def test_an_owner_that_no_process_has_written_is_dead(text, tmp_path):
    write_lease(tmp_path, {})
    (tmp_path / ".lease" / "1" / "owner.json").write_text(text)
    assert Lease(tmp_path, "folder").renew_if_held()


@pytest.mark.parametrize("change", [{"host": "h"}, {"boot": "b"}, {"pids": 1}, {"boot": ""}])
def test_process_ids_of_other_hosts_boots_and_containers_mean_nothing(tmp_path, change):
    """Such an owner is alive as long as it renews its lease."""
    write_lease(tmp_path, {**OTHER, **host_info(), "pid": os.getpid(), "started": -1, **change})
    assert re.search(r"silent for \d+ s", refusal(tmp_path))


def test_a_container(hold, tmp_path):
    """A process in another namespace, whose id belongs to another process here."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    process = hold(tmp_path, before=alone)
    assert "process 1 on" in refusal(tmp_path) and ask(process) == "ours"


def test_a_reused_process_id_is_not_the_owner(tmp_path):
    owner = {**OTHER, **host_info(), "pid": os.getpid(), "started": process_start_time(os.getpid())}
    write_lease(tmp_path, owner)
    assert f"process {os.getpid()} " in refusal(tmp_path)
    write_lease(tmp_path, {**owner, "started": owner["started"] - 1}, number=2)
    assert Lease(tmp_path, "folder").renew_if_held()


def test_ended_processes_are_not_alive():
    """With and without a known start time."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert not is_process_alive(process.pid, None) and not is_process_alive(process.pid, 1)
    assert not is_process_alive(2**70, None)
    assert process_start_time(process.pid) is None
    own = os.getpid(), process_start_time(os.getpid())
    assert is_process_alive(own[0], None) and is_process_alive(*own)
    assert not is_process_alive(own[0], own[1] + 1)


def test_a_thread_renews_the_lease(tmp_path, monkeypatch):
    """Also after the file system was unavailable.  It ends with the garbage collection of the
    lease."""
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.01)
    unavailable, real_renew, threads = threading.Event(), Lease._renew, []

    def renew(lease):
        threads.append(threading.current_thread())
        if unavailable.is_set():
            raise OSError("unavailable")
        real_renew(lease)

    monkeypatch.setattr(Lease, "_renew", renew)
    lease = Lease(tmp_path, "folder")
    path = tmp_path / ".lease" / "1" / "owner.json"

    def wait_for_renewal() -> None:
        os.utime(path, (0, 0))
        wait_for(lambda: path.stat().st_mtime > 0)

    wait_for_renewal()
    wait_for_renewal()
    unavailable.set()
    count = len(threads)
    wait_for(lambda: len(threads) >= count + 3)
    unavailable.clear()
    wait_for_renewal()
    thread = next(thread for thread in threads if thread is not threading.main_thread())
    assert thread.daemon
    del lease
    thread.join(120)
    assert not thread.is_alive() and (path.parent / "released.json").exists()


def test_another_process_is_faster(tmp_path, monkeypatch):
    """In taking a number, and in discarding the folder: this process tries again."""
    acquire, make, calls = Lease._try_acquire, Lease._make_unnumbered, []

    def acquire_too_late(lease):
        calls.append("acquire")
        return len(calls) > 1 and acquire(lease)

    def make_in_discarded_folder(lease):
        calls.append("make")
        if calls.count("make") == 1:
            raise FileNotFoundError
        return make(lease)

    monkeypatch.setattr(Lease, "_try_acquire", acquire_too_late)
    monkeypatch.setattr(Lease, "_make_unnumbered", make_in_discarded_folder)
    assert Lease(tmp_path, "folder").renew_if_held()
    assert calls == ["acquire", "acquire", "make", "acquire", "make"]


def test_old_temporary_leases_are_removed(tmp_path):
    root = tmp_path / ".lease"
    for name in ("new-old", "new-fresh"):
        (root / name).mkdir(parents=True)
    (root / "new-gone").symlink_to("nowhere")  # as if removed after it was listed
    os.utime(root / "new-old", (0, 0))
    lease = Lease(tmp_path, "folder")
    assert lease.renew_if_held()
    assert not (root / "new-old").exists() and (root / "new-fresh").exists()


def test_a_host_without_boot_id(monkeypatch):
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
def test_reading_proc(monkeypatch, name, state, threads, expected):
    fields = ["0"] * 50
    fields[0], fields[17], fields[19] = state, str(threads), "77"
    text = f"12 ({name}) {' '.join(fields)}"
    monkeypatch.setattr(processes.Path, "read_text", lambda path: text)
    assert process_start_time(12) == expected


@pytest.mark.parametrize("content", [None, "", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_lease_without_owner(tmp_path, content):
    """As a loss of power may leave it."""
    (tmp_path / ".lease" / "7").mkdir(parents=True)
    if content is not None:
        (tmp_path / ".lease" / "7" / "owner.json").write_text(content)
    lease = Lease(tmp_path, "folder")
    assert lease.renew_if_held() and lease_numbers(tmp_path) == [8]


@pytest.mark.parametrize("content", [None, "", '{"pid": 1}'])
def test_an_ownerless_lease_is_marked_as_released(tmp_path, content):
    """It must not be empty, or another lease could be renamed onto it.  A lease that is removed
    meanwhile is not created again."""
    place = tmp_path / "1"
    assert _live_owner(place, 0) is None and not place.exists()
    place.mkdir()
    if content is not None:
        (place / "owner.json").write_text(content)
    assert _live_owner(place, 0) is None
    assert (place / "released.json").exists()


def test_discarding_leaves_no_trace(tmp_path):
    Lease(tmp_path, "folder").discard()
    assert not list(tmp_path.iterdir())
    lease = Lease(tmp_path / "run", "folder")
    shutil.rmtree(tmp_path / "run")  # as a user may
    lease.discard()
    assert not list(tmp_path.iterdir())


def test_other_errors_are_not_reported_as_in_use(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / ".lease").write_text("")
    (tmp_path / "in" / ".lease" / "1").mkdir(parents=True)
    (tmp_path / "in" / ".lease" / "1" / "owner.json").mkdir()
    for folder, path, reason in (
        (tmp_path / "file", tmp_path / "file", "Not a directory"),
        (tmp_path, tmp_path / ".lease", "File exists"),
        (tmp_path / "in", tmp_path / "in" / ".lease" / "1" / "owner.json", "Is a directory"),
    ):
        with pytest.raises(UserError) as caught:
            Lease(folder, "run folder")
        message = str(caught.value)
        assert message.startswith(f"run folder {folder} cannot be written: {path}")
        assert f": {reason} (" in message and message.endswith(" left)")
        assert not isinstance(caught.value, FolderInUse) and "in use" not in message
    assert lease_numbers(tmp_path / "in") == [1]  # the attempt has left nothing
    refused = Lease(tmp_path / "new", "folder")._write_refusal(OSError(28, "full"))  # no path
    assert str(refused).startswith(f"folder {tmp_path / 'new'} cannot be written: full (")


def open_run(folder, **more):
    return RunFolder(folder, {"identity": {"results": 1, "options": {}}}, device="cpu", **more)


def test_an_owner_that_lost_its_lease_does_not_write(tmp_path):
    run = open_run(tmp_path, resume=True)
    run.save_checkpoint({"state": {"number": 1}})
    before = {path: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert len(before) == 4  # three tables and the checkpoint
    write_lease(tmp_path, OTHER, number=2)
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


def test_a_late_owner_asks_for_the_next_number(tmp_path, monkeypatch):
    """By the time stamps of its renewals.  It loses the folder if another process has that number
    or has removed its lease."""
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 10**6)  # only this test renews it
    lease, set_times = Lease(tmp_path, "folder"), os.utime

    def renew_after(seconds):
        """A renewal so many seconds after the one before, by the file's time stamps."""
        now = lease._last_renewal_time + seconds
        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", lambda path: set_times(path, (now, now)))
            return lease.renew_if_held()

    for late, expected in ((59, [1]), (61, [1, 2]), (-1, [1, 2, 3])):
        assert renew_after(late) and lease_numbers(tmp_path) == expected
        assert renew_after(0) and lease_numbers(tmp_path) == expected  # not late again
    write_lease(tmp_path, OTHER, number=4)
    lease._last_renewal_time -= 61
    assert not lease.renew_if_held() and lease_numbers(tmp_path) == [1, 2, 3, 4]
    shutil.rmtree(tmp_path / ".lease" / "3")
    assert not lease.renew_if_held()
    lease.release()  # although its folder is gone
    assert (tmp_path / ".lease" / "4" / "owner.json").exists()


def test_lateness_is_remembered_until_the_next_check(tmp_path, monkeypatch):
    """Although its thread renews it in time again.  Two renewals at the same time are not late."""
    lease = Lease(tmp_path, "folder")
    lease._last_renewal_time -= 61
    lease._renew()
    lease._renew()
    assert lease.renew_if_held() and lease_numbers(tmp_path) == [1, 2]
    monkeypatch.setattr(os, "utime", lambda path: None)
    assert lease.renew_if_held() and lease.renew_if_held() and lease_numbers(tmp_path) == [1, 2]


def test_a_released_lease_stays_as_a_mark(tmp_path):
    with Lease(tmp_path, "folder") as lease:
        assert [path.name for path in tmp_path.glob(".lease/*/*")] == ["owner.json"]
    assert [path.name for path in tmp_path.glob(".lease/*/*")] == ["released.json"]
    assert not lease.renew_if_held()
    assert Lease(tmp_path, "folder").renew_if_held() and lease_numbers(tmp_path) == [2]


def test_taken_over_by_an_unreadable_owner(tmp_path):
    lease = Lease(tmp_path, "folder")
    write_lease(tmp_path, [], number=2)
    with pytest.raises(UserError, match=f"folder {tmp_path} was taken over by another process"):
        lease.require_held()


def test_a_suspended_owner(hold, tmp_path):
    """It continues if no other process came, and stops if another host has taken over."""
    owner = hold(tmp_path, "one")
    begin = last_renewal(tmp_path)
    wait_for(lambda: last_renewal(tmp_path) > begin + EXPIRY_OF_HOSTS)  # renewed beyond its expiry
    assert ask(owner) == "ours"
    number = max(lease_numbers(tmp_path))
    suspend(owner, tmp_path)
    owner.send_signal(signal.SIGCONT)
    assert ask(owner) == "ours"  # it asked for the next number, as others would
    assert max(lease_numbers(tmp_path)) > number
    number = max(lease_numbers(tmp_path))
    suspend(owner, tmp_path)
    other = hold(tmp_path, "two")
    owner.send_signal(signal.SIGCONT)
    assert f"taken over by process {other.pid} on two" in ask(owner)
    assert ask(other) == "ours" and "taken over" in ask(owner)
    owner.communicate(timeout=600)  # its end does not release the other's lease
    assert ask(other) == "ours" and min(lease_numbers(tmp_path)) > number


def suspend(process, folder):
    """Suspend a process until its lease has expired."""
    process.send_signal(signal.SIGSTOP)
    probe = folder / "probe"  # for the file system's time

    def has_expired() -> bool:
        probe.write_text("")
        return probe.stat().st_mtime > last_renewal(folder) + EXPIRY_OF_HOSTS

    wait_for(has_expired, pause=0.05)


def last_renewal(folder):
    times = [0.0]
    for path in folder.glob(".lease/*/owner.json"):
        with contextlib.suppress(FileNotFoundError):  # its owner has just taken the next number
            times.append(path.stat().st_mtime)
    return max(times)


def test_a_process_that_gets_a_removed_number_withdraws(tmp_path):
    """It was suspended after looking for the highest number; others have come and gone since."""
    write_lease(tmp_path, OTHER, number=9)
    (tmp_path / ".lease" / "3").mkdir()
    slow = Lease(tmp_path / "elsewhere", "folder")
    slow._lease_root = tmp_path / ".lease"
    for number in (3, 4, 9):  # being removed, removed, and of another process
        assert not slow._claim_number(*slow._make_unnumbered(), number)
    assert lease_numbers(tmp_path) == [9]
    assert (tmp_path / ".lease" / "9" / "owner.json").read_text() == json.dumps(OTHER)


def test_a_lease_has_no_side_effects(tmp_path):
    """It draws no random numbers and leaves no thread."""
    before = random.getstate(), torch.get_rng_state().tolist()
    threads = threading.active_count()
    with Lease(tmp_path, "folder") as lease:
        lease.require_held()
    assert not lease.renew_if_held()
    after = random.getstate(), torch.get_rng_state().tolist()
    assert before == after
    wait_for(lambda: threading.active_count() <= threads)


def test_a_restarted_run_keeps_its_lease(tmp_path):
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
    assert read_runs_below(folder) == ([], [])  # no run, and no warning


def prepare_pretraining(root, pretrain):
    """The folder of a pre-training of a tiny network, and a function that starts it."""
    model = create_model("small_cnn", 3, 1, 8)
    images = ImageStore(torch.zeros(12, 1, 8, 8, dtype=torch.uint8), [0.5], [0.5])
    pretrainer = SimpleNamespace(pretrain=pretrain, columns=("epoch", "loss"))
    identity = {"options": {"dataset": "d", "arch": "a"}}
    load_or_pretrain = functools.partial(
        pretrained_cache.load_or_pretrain_backbone,
        str(root), model, images, pretrainer, identity, checkpoint_epochs=1,
    )  # fmt: skip
    return pretrained_cache.cache_folder(root, identity), load_or_pretrain


def test_waiting_for_weights_is_logged_once(hold, tmp_path, monkeypatch):
    """The process that is waited for ends after three attempts."""
    folder, pretrain = prepare_pretraining(tmp_path, lambda *_, **__: [{"epoch": 0, "loss": 0.5}])
    process, messages, pauses = hold(folder), [], []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            process.kill()
            process.wait()

    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(pretrained_cache.log, "handlers", [handler])
    monkeypatch.setattr(pretrained_cache.log, "level", logging.INFO)
    pretrain()
    assert len(pauses) == 3 and (folder / "weights.pt").exists()
    assert f"in use by process {process.pid} " in messages[0] and "waiting" in messages[0]
    assert "in use by" not in "".join(messages[1:]) and "weights.pt" in messages[-1]


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_process_that_lost_the_cache_writes_nothing(tmp_path, epochs):
    """It notices at a checkpoint or at the end."""

    def pretrain(*_, after_epoch, **__):
        write_lease(folder, OTHER, number=2)
        for done in range(epochs):
            after_epoch(done + 1, {})
        return [{"epoch": 0, "loss": 0.5}]

    folder, load_or_pretrain = prepare_pretraining(tmp_path, pretrain)
    with pytest.raises(UserError, match="was taken over by process 17"):
        load_or_pretrain()
    assert [path.name for path in folder.iterdir()] == [".lease"]


@examples(60)
@given(data=st.data())
def test_a_damaged_owner_file(data):
    """Its folder is taken over, or is in use; never anything else."""
    owner = json.dumps({**OTHER, **host_info(), "pid": 10**6, "started": 5}).encode()

    def read(folder):
        with Lease(folder, "folder") as lease:
            return lease.renew_if_held()

    def check(is_held):
        assert is_held

    read_damaged(Reader({".lease/1/owner.json": owner}, read, check), data)


def test_contention(tmp_path):
    counts = compete(tmp_path / "contest", processes=4, rounds=10)
    assert counts["begin"] == 40 and counts["lost"] == 0
