"""A run folder that was damaged, edited or left half-written goes on, or says in a line why not."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import main_al
from experiment import checkpoint
from experiment.checkpoint import (
    Checkpoints,
    CorruptCheckpoint,
    load_checkpoint,
    previous_checkpoint_path,
    save_checkpoint,
)
from experiment.environment import describe_environment, environment_changes
from tests.commands.test_main_al import MAIN, SHORT, assert_same_run
from utils.errors import SystemRefusal, UserError
from utils.files import write_atomically
from utils.signals import StoppedBySignal

WORDS = [*map(str, SHORT), "--al-method", "coreset", "--device", "cpu", "--checkpoint-epochs", "1"]
TABLES = ("results.csv", "acquired.csv", "timing.csv")


def flip(path, bit=None):
    """Turn a bit over, in the middle unless told."""
    content = bytearray(path.read_bytes())
    bit = 4 * len(content) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run; -> its folder, which tests copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main_al.main([*WORDS, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path, capfd):
    """A copy of a finished run, and what makes it go on; -> folder, (standard output, error)."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.glob("[!.]*"):
        (folder / path.name).write_bytes(path.read_bytes())

    def again(status=0):
        capfd.readouterr()
        assert main_al.main([*WORDS, "--run-dir", str(folder)]) == status
        return capfd.readouterr()

    again()  # the copies' times are new
    return folder, again


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("content", [None, "", "cycle\n7\n"])
def test_a_table_that_was_deleted_or_edited_is_written_again(run, name, content):
    folder, again = run
    path = folder / name
    before = path.read_bytes()
    path.unlink() if content is None else path.write_text(content)
    assert "Finished before" in again().out
    assert path.read_bytes() == before


def test_leftovers_of_killed_writes_are_swept(run):
    folder, again = run
    swept = [".checkpoint.pt.a1b2c3d_", ".results.csv.abcdefgh", ".config.json.12345678"]
    swept += [".queries.html.abcdefgh", ".classes.txt.abcdefgh"]
    kept = [".mine", ".checkpoint.pt", ".notes.txt.abcdefgh", "checkpoint.pt.abcdefgh"]
    for name in (*swept, *kept):
        (folder / name).write_text("torn")
    (folder / "timing.csv").unlink()  # or the run would be over without a look into it
    again()
    names = {path.name for path in folder.iterdir()}
    assert not names & set(swept) and names >= set(kept)


def test_the_older_checkpoint_is_used_when_the_newer_is_damaged(run, finished):
    folder, again = run
    flip(folder / "checkpoint.pt")
    told = again()
    line = "checkpoint.pt is damaged: going on from the checkpoint before it"
    assert (told.out + told.err).count(
        line
    ) == 1  # where an earlier test's log would say it, or not
    assert "Finished." in told.out and "Finished before" in again().out
    assert_same_run(folder, finished)
    for name in ("checkpoint.pt", "checkpoint.before.pt"):  # two good ones again
        load_checkpoint(folder / name)


def test_no_whole_checkpoint_is_an_error_of_one_line(run):
    folder, again = run
    for name in ("checkpoint.pt", "checkpoint.before.pt"):
        flip(folder / name)
    told = again(2)
    assert "there is no whole one: delete it to start anew" in told.err
    assert told.err.count("\n") == 1 and str(folder / "checkpoint.pt") in told.err


def test_a_checkpoint_of_another_kind(run):
    """Sealed, and yet none of ours: torch's own words would advise to load it without a check."""
    folder, again = run
    save_checkpoint(folder / "checkpoint.pt", [json.JSONDecodeError])  # a type that is not allowed
    told = again(2)
    assert "is whole but no checkpoint" in told.err and told.err.count("\n") == 1
    assert "weights_only" not in told.err


@pytest.mark.parametrize("state", [["a list"], {"a type": json.JSONDecodeError}])
def test_only_dicts_of_plain_types_are_loaded(tmp_path, state):
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(UserError, match="is whole but no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_what_reads_like_a_seal_is_none(tmp_path):
    state = {"text": (checkpoint.CHECKSUM_MARK * 2).decode()}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert load_checkpoint(tmp_path / "checkpoint.pt") == state


def test_what_cannot_be_read_or_removed_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.mkdir()
    with pytest.raises(SystemRefusal, match=f"{path} cannot be read"):
        load_checkpoint(path)
    with pytest.raises(SystemRefusal, match=f"{path} cannot be removed"):
        Checkpoints(path, lambda state: None).delete_all()


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoint.pt", lambda state: None)


@pytest.mark.parametrize("links", [True, False])
def test_two_good_checkpoints_at_every_moment(links, checkpoints, monkeypatch):
    """Also between the renames, where a kill on a file system without hard links leaves the newest
    with a leftover's name; with them there is always one of its own name."""
    path, folder = checkpoints.path, checkpoints.path.parent
    held, replace = [], os.replace

    def whole():
        found = []
        for place in folder.iterdir():
            try:
                found.append(load_checkpoint(place)["number"])
            except UserError:
                continue  # one that is being written
        return sorted(found)

    def look(*words):
        held.append((path.exists(), *whole()))
        replace(*words)
        held.append((path.exists(), *whole()))

    def no_link(*_):
        raise PermissionError(1, "Operation not permitted")

    checkpoints.save_next({"number": 1})
    checkpoints.save_next({"number": 2})
    monkeypatch.setattr(os, "replace", look)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    checkpoints.save_next({"number": 3})
    with_links = [(True, 1, 2, 2, 3), (True, 1, 2, 3), (True, 1, 2, 3), (True, 2, 3)]
    without = [(True, 1, 2, 3), (False, 2, 3), (False, 2, 3), (True, 2, 3)]
    assert held == (with_links if links else without)
    assert load_checkpoint(previous_checkpoint_path(path)) == {"number": 2}
    monkeypatch.undo()
    for numbers, content in ((1, 3), (0, 3), (0, 2)):  # as it is; killed in between; older alone
        if not numbers:
            path.rename(folder / f".checkpoint.pt.abcdefg{content}")
        if content == 2:
            flip(folder / ".checkpoint.pt.abcdefg2")
        assert checkpoints.load_latest() == {"number": content}
        assert load_checkpoint(path) == {"number": content}


def test_a_leftover_that_cannot_be_put_in_its_place_is_named(checkpoints, monkeypatch):
    checkpoints.save_next({"number": 1})
    checkpoints.path.rename(checkpoints.path.parent / ".checkpoint.pt.abc")
    monkeypatch.setattr(Path, "replace", lambda *_: os.stat("/nowhere"))
    with pytest.raises(SystemRefusal, match=f"{checkpoints.path} cannot be written: No such file"):
        checkpoints.load_latest()


def test_a_flipped_bit_anywhere_is_noticed(checkpoints, caplog):
    checkpoints.save_next({"number": 1})
    checkpoints.save_next({"number": 2})
    good = checkpoints.path.read_bytes()
    for bit in range(0, 8 * len(good), 997):  # the seal too
        checkpoints.path.write_bytes(good)
        flip(checkpoints.path, bit)
        with pytest.raises(CorruptCheckpoint):
            load_checkpoint(checkpoints.path)


def test_what_is_kept_is_saved_where_a_signal_stops(checkpoints):
    state = {"number": [0]}
    with pytest.raises(StoppedBySignal), Checkpoints(checkpoints.path, lambda state: None) as held:
        held.save_next(state)
        for state["number"][0] in (1, 2):
            held.take_snapshot(lambda: state, force=True)
        state["number"][0] = 3  # half a step further: not kept
        raise StoppedBySignal(15)
    assert load_checkpoint(checkpoints.path) == {"number": [2]}
    assert load_checkpoint(previous_checkpoint_path(checkpoints.path)) == {"number": [0]}


def test_what_is_kept_is_for_a_signal_alone(checkpoints):
    """An error may come of the very state."""
    with pytest.raises(ValueError), Checkpoints(checkpoints.path, lambda state: None) as held:
        held.take_snapshot(lambda: {"number": 1}, force=True)
        raise ValueError
    with pytest.raises(StoppedBySignal), Checkpoints(checkpoints.path, lambda state: None):
        raise StoppedBySignal(15)
    assert not checkpoints.path.exists()


def test_a_state_is_saved_where_a_signal_stops_its_saving(checkpoints):
    stops = [StoppedBySignal(15)]

    def before(state):
        if stops:
            raise stops.pop()

    with pytest.raises(StoppedBySignal), Checkpoints(checkpoints.path, before) as held:
        held.save_next({"number": 1})
    assert load_checkpoint(checkpoints.path) == {"number": 1}


def test_nothing_is_kept_within_a_second_of_a_save_or_the_start(checkpoints):
    checkpoints.take_snapshot(pytest.fail)
    checkpoints.save_next({"number": 1})
    checkpoints.take_snapshot(pytest.fail)
    checkpoints._next_snapshot_time -= 2 * checkpoint.MIN_SNAPSHOT_SECONDS
    checkpoints.take_snapshot(lambda: {"number": 2})
    assert checkpoints._snapshot == {"number": 2}
    checkpoints.take_snapshot(pytest.fail)


def test_keeping_costs_a_hundredth_at_most(checkpoints, monkeypatch):
    """A copy that takes half a second is made a second after the start, then 50 s after each."""
    now, ends = [1000.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    held = Checkpoints(checkpoints.path, lambda state: None)

    def slow():
        now[0] += 0.5
        ends.append(now[0])
        return {}

    while now[0] < 1103:
        held.take_snapshot(slow)
        now[0] += 0.25
    assert ends == [1001.5, 1052.0, 1102.5]


def test_when_a_checkpoint_is_due(checkpoints, monkeypatch):
    """Every so many epochs if given; else seldomer where it takes too much of the time."""
    due = checkpoints.is_due
    assert all(due(n, 1) for n in range(1, 4))
    assert [n for n in range(1, 9) if due(n, 4)] == [4, 8] and not any(due(n, 0) for n in range(99))
    assert [n for n in range(1, 80) if due(n, None)] == [25, 50, 75]  # what it costs is not known
    now = [1000.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    checkpoints.before_save = lambda state: now.append(now.pop() + 0.5)
    checkpoints.save_next({})
    assert due(5, 5) and not due(25, None)
    for after, expected in ((24.75, False), (25, True)):  # 50 times what it took
        now[0] = 1000.5 + after
        assert due(25, None) == expected and not due(26, None)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no)
    with pytest.raises(UserError, match=r"file cannot be written: No space left .* left\)"):
        write_atomically(path, b"new")
    assert [place.name for place in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_going_on_elsewhere_is_told(command, tmp_path):
    """Another number of threads; every start is kept."""
    told = []
    for cycles, threads in ((1, 1), (2, 2)):
        words = [*WORDS, "--al-nb-cycles", cycles, "--run-dir", "run"]
        done = command("python", MAIN, *words, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())["starts"]
    assert [start["threads"] for start in starts] == [1, 2]
    line = "going on with threads 2 after 1: the last digits may differ from here on"
    assert told[1].count(line) == 1 and line in (tmp_path / "run" / "log.txt").read_text()


def test_in_what_two_machines_differ():
    here = describe_environment(torch.device("cpu"))
    assert environment_changes(here, {**here, "time": "later", "command": ["x"]}) == ""
    other = {**here, "device": "cuda:0", "versions": {**here["versions"], "torch": "1.0"}}
    told = environment_changes(here, other)
    assert "device cuda:0 after cpu" in told and "torch 1.0 after " in told
    assert "git revision" in environment_changes(
        {**here, "git_revision": "a"}, {**here, "git_revision": "b"}
    )
