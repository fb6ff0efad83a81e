"""A damaged, edited or half-written run folder is resumed, or refused in one line."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import main_al
from data.state import from_dict
from experiment import checkpoint
from experiment.checkpoint import (
    Checkpoints,
    CorruptCheckpoint,
    load_checkpoint,
    previous_checkpoint_path,
    save_checkpoint,
)
from experiment.environment import describe_environment, environment_changes
from tests.commands.test_main_al import SHORT, assert_same_run
from utils.errors import SystemRefusal, UserError
from utils.files import write_atomically
from utils.signals import StoppedBySignal

WORDS = [*map(str, SHORT), "--al-method", "coreset", "--device", "cpu", "--checkpoint-epochs", "1"]
TABLES = ("results.csv", "acquired.csv", "timing.csv")


def flip_bit(path, bit=None):
    """Flip one bit of a file, by default in the middle."""
    content = bytearray(path.read_bytes())
    bit = 4 * len(content) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """The folder of a finished run, which tests copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main_al.main([*WORDS, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished_run, tmp_path, capfd):
    """A copy of a finished run, and a function that starts it again in this process.

    The function takes the expected exit status and further options; it returns the output."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished_run.glob("[!.]*"):
        (folder / path.name).write_bytes(path.read_bytes())

    def again(status=0, *options):
        capfd.readouterr()
        assert main_al.main([*WORDS, "--run-dir", str(folder), *options]) == status
        return capfd.readouterr()

    again()  # the times of the copies are new
    return folder, again


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("content", [None, "", "cycle\n7\n"])
def test_a_deleted_or_edited_table_is_written_again(run, name, content):
    folder, again = run
    path = folder / name
    before = path.read_bytes()
    path.unlink() if content is None else path.write_text(content)
    assert "Finished before" in again().out
    assert path.read_bytes() == before


def test_leftovers_of_killed_writes_are_removed(run):
    folder, again = run
    leftovers = [".checkpoint.pt.a1b2c3d_", ".results.csv.abcdefgh", ".config.json.12345678"]
    leftovers += [".queries.html.abcdefgh", ".classes.txt.abcdefgh"]
    others = [".mine", ".checkpoint.pt", ".notes.txt.abcdefgh", "checkpoint.pt.abcdefgh"]
    for name in (*leftovers, *others):
        (folder / name).write_text("torn")
    (folder / "timing.csv").unlink()  # otherwise the folder would not even be opened
    again()
    names = {path.name for path in folder.iterdir()}
    assert not names & set(leftovers) and names >= set(others)


def test_the_previous_checkpoint_is_used_if_the_last_is_damaged(run, finished_run):
    folder, again = run
    flip_bit(folder / "checkpoint.pt")
    output = again()
    # On either stream: the log may not be open yet.
    assert (output.out + output.err).count("checkpoint.pt is damaged: resuming") == 1
    assert "Finished." in output.out and "Finished before" in again().out
    assert_same_run(folder, finished_run)
    for name in ("checkpoint.pt", "checkpoint.before.pt"):  # both are intact again
        load_checkpoint(folder / name)


def test_no_intact_checkpoint_is_an_error_of_one_line(run):
    folder, again = run
    for name in ("checkpoint.pt", "checkpoint.before.pt"):
        flip_bit(folder / name)
    error = again(2).err
    assert "damaged" in error and "delete it" in error
    assert error.count("\n") == 1 and str(folder / "checkpoint.pt") in error


def test_a_file_with_checksum_that_is_not_a_checkpoint(run):
    """torch's own message would advise loading it without a check."""
    folder, again = run
    save_checkpoint(folder / "checkpoint.pt", [json.JSONDecodeError])  # a type that is not allowed
    error = again(2).err
    assert "not a checkpoint" in error and error.count("\n") == 1
    assert "weights_only" not in error


@pytest.mark.parametrize("content", [["a list"], {"a type": json.JSONDecodeError}])
def test_only_dicts_of_plain_types_are_loaded(tmp_path, content):
    save_checkpoint(tmp_path / "checkpoint.pt", content)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_content_may_look_like_a_checksum(tmp_path):
    state = {"text": (checkpoint.CHECKSUM_MARK * 2).decode()}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert load_checkpoint(tmp_path / "checkpoint.pt") == state


def test_unreadable_and_undeletable_files_are_named(tmp_path):
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
def test_two_intact_checkpoints_at_every_moment(links, checkpoints, monkeypatch):
    """Also between the renames. With hard links the proper name always exists; without them a kill
    can leave the newest checkpoint under the name of a leftover."""
    path, folder = checkpoints.path, checkpoints.path.parent
    observations, replace = [], os.replace

    def intact_checkpoints():
        numbers = []
        for file in folder.iterdir():
            try:
                numbers.append(load_checkpoint(file)["number"])
            except UserError:
                continue  # it is being written
        return sorted(numbers)

    def replace_and_observe(*paths):
        observations.append((path.exists(), *intact_checkpoints()))
        replace(*paths)
        observations.append((path.exists(), *intact_checkpoints()))

    def refuse_link(*_):
        raise PermissionError(1, "Operation not permitted")

    checkpoints.save_next({"number": 1})
    checkpoints.save_next({"number": 2})
    monkeypatch.setattr(os, "replace", replace_and_observe)
    if not links:
        monkeypatch.setattr(os, "link", refuse_link)
    checkpoints.save_next({"number": 3})
    with_links = [(True, 1, 2, 2, 3), (True, 1, 2, 3), (True, 1, 2, 3), (True, 2, 3)]
    without_links = [(True, 1, 2, 3), (False, 2, 3), (False, 2, 3), (True, 2, 3)]
    assert observations == (with_links if links else without_links)
    assert load_checkpoint(previous_checkpoint_path(path)) == {"number": 2}
    monkeypatch.undo()
    for renamed, content in ((False, 3), (True, 3), (True, 2)):
        if renamed:  # as after a kill between the renames
            path.rename(folder / f".checkpoint.pt.abcdefg{content}")
        if content == 2:
            flip_bit(folder / ".checkpoint.pt.abcdefg2")
        assert checkpoints.load_latest() == {"number": content}
        assert load_checkpoint(path) == {"number": content}


def test_a_leftover_that_cannot_be_renamed_is_named(checkpoints, monkeypatch):
    checkpoints.save_next({"number": 1})
    checkpoints.path.rename(checkpoints.path.parent / ".checkpoint.pt.abc")
    monkeypatch.setattr(Path, "replace", lambda *_: os.stat("/nowhere"))
    with pytest.raises(SystemRefusal, match=f"{checkpoints.path} cannot be written: No such file"):
        checkpoints.load_latest()


def test_a_flipped_bit_anywhere_is_noticed(checkpoints, caplog):
    checkpoints.save_next({"number": 1})
    checkpoints.save_next({"number": 2})
    intact = checkpoints.path.read_bytes()
    for bit in range(0, 8 * len(intact), 997):  # of the checksum too
        checkpoints.path.write_bytes(intact)
        flip_bit(checkpoints.path, bit)
        with pytest.raises(CorruptCheckpoint):
            load_checkpoint(checkpoints.path)


def test_a_signal_saves_the_last_snapshot(checkpoints):
    state = {"number": [0]}
    with (
        pytest.raises(StoppedBySignal),
        Checkpoints(checkpoints.path, lambda state: None) as opened,
    ):
        opened.save_next(state)
        for state["number"][0] in (1, 2):
            opened.take_snapshot(lambda: state, force=True)
        state["number"][0] = 3  # changed after the snapshot
        raise StoppedBySignal(15)
    assert load_checkpoint(checkpoints.path) == {"number": [2]}
    assert load_checkpoint(previous_checkpoint_path(checkpoints.path)) == {"number": [0]}


def test_an_error_saves_no_snapshot(checkpoints):
    """The state itself may be the cause of the error."""
    with pytest.raises(ValueError), Checkpoints(checkpoints.path, lambda state: None) as opened:
        opened.take_snapshot(lambda: {"number": 1}, force=True)
        raise ValueError
    with pytest.raises(StoppedBySignal), Checkpoints(checkpoints.path, lambda state: None):
        raise StoppedBySignal(15)
    assert not checkpoints.path.exists()


def test_a_signal_while_saving_saves_again(checkpoints):
    signals = [StoppedBySignal(15)]

    def before_save(state):
        if signals:
            raise signals.pop()

    with pytest.raises(StoppedBySignal), Checkpoints(checkpoints.path, before_save) as opened:
        opened.save_next({"number": 1})
    assert load_checkpoint(checkpoints.path) == {"number": 1}


def test_no_snapshot_within_a_second_of_a_save_or_the_start(checkpoints):
    checkpoints.take_snapshot(pytest.fail)
    checkpoints.save_next({"number": 1})
    checkpoints.take_snapshot(pytest.fail)
    checkpoints._next_snapshot_time -= 2 * checkpoint.MIN_SNAPSHOT_SECONDS
    checkpoints.take_snapshot(lambda: {"number": 2})
    assert checkpoints._snapshot == {"number": 2}
    checkpoints.take_snapshot(pytest.fail)


def test_snapshots_take_at_most_a_hundredth_of_the_time(checkpoints, monkeypatch):
    """A copy that takes half a second is made one second after the start, then 50 s after each."""
    now, ends = [1000.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    slow_checkpoints = Checkpoints(checkpoints.path, lambda state: None)

    def slow_copy():
        now[0] += 0.5
        ends.append(now[0])
        return {}

    while now[0] < 1103:
        slow_checkpoints.take_snapshot(slow_copy)
        now[0] += 0.25
    assert ends == [1001.5, 1052.0, 1102.5]


def test_when_a_checkpoint_is_due(checkpoints, monkeypatch):
    """After every interval if given; otherwise less often if saving takes too long."""
    due = checkpoints.is_due
    assert all(due(n, 1) for n in range(1, 4))
    assert [n for n in range(1, 9) if due(n, 4)] == [4, 8] and not any(due(n, 0) for n in range(99))
    assert [n for n in range(1, 80) if due(n, None)] == [25, 50, 75]  # not saved yet
    now = [1000.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    checkpoints.before_save = lambda state: now.append(now.pop() + 0.5)
    checkpoints.save_next({})
    assert due(5, 5) and not due(25, None)
    for after, expected in ((24.75, False), (25, True)):  # 50 times the duration of saving
        now[0] = 1000.5 + after
        assert due(25, None) == expected and not due(26, None)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"file cannot be written: No space left .* left\)"):
        write_atomically(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_resuming_in_another_environment_is_reported(run, tmp_path):
    """Every start is recorded; a difference that can change last digits is one warning."""
    folder, again = run
    path = folder / "environment.json"
    environments = json.loads(path.read_text())
    starts = len(environments["starts"])
    threads = environments["starts"][-1]["threads"]
    assert threads == torch.get_num_threads()
    environments["starts"][-1]["threads"] = threads + 1
    path.write_text(json.dumps(environments))
    output = again(0, "--al-nb-cycles", "3").out
    line = f"threads {threads} after {threads + 1}"
    assert output.count(line) == 1 and line in (folder / "log.txt").read_text()
    assert "resuming" in output
    recorded = json.loads(path.read_text())["starts"]
    assert [start["threads"] for start in recorded[starts - 1 :]] == [threads + 1, threads]


def test_a_pipe_in_place_of_a_file_is_refused(run):
    folder, again = run
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "config.json cannot be read: it is a pipe" in again(1).err


def test_environment_changes():
    here = describe_environment(torch.device("cpu"))
    assert environment_changes(here, {**here, "time": "later", "command": ["x"]}) == ""
    other = {**here, "device": "cuda:0", "versions": {**here["versions"], "torch": "1.0"}}
    changes = environment_changes(here, other)
    assert "device cuda:0 after cpu" in changes and "torch 1.0 after " in changes
    assert "git revision" in environment_changes(
        {**here, "git_revision": "a"}, {**here, "git_revision": "b"}
    )


EARLIER_STATE = {  # as versions before 1.0 wrote it: the second cycle of six images, in training
    "pool": {"labels": torch.tensor([-1, 2, 0, -1, -1, 1]), "order": torch.tensor([5, 1, 2])},
    "asked": None,
    "cycle": 1,
    "epoch": 4,
    "steps": 12,
    "loss": 0.5,
    "judged": False,
    "targets": {
        "labels": torch.tensor([1, 2, 0, -1, -1, 1]),
        "weights": torch.tensor([0.5, 1, 1, 0, 0, 1]),
        "class_weights": torch.ones(3),
        "scores": torch.full((6, 3), 0.25),
        "odds": torch.tensor([0.5, 0, 0, 0, 0, 0]),
    },
    "carried": {"predicted": torch.tensor([-1, 2, 0, 1, -1, 1])},
}


def test_states_of_earlier_versions_can_be_read():
    """Fields had other names in them."""
    state = from_dict(EARLIER_STATE)
    assert (state.cycle, state.epoch, state.steps, state.loss) == (1, 4, 12, 0.5)
    assert state.queried is None and state.evaluated is False
    assert state.pool.labels.tolist() == [-1, 2, 0, -1, -1, 1]
    assert state.pool.labeled_order.tolist() == [5, 1, 2]
    assert state.targets.labels.tolist() == [1, 2, 0, -1, -1, 1]
    assert state.targets.weights.tolist() == [0.5, 1, 1, 0, 0, 1]
    assert state.targets.soft_labels.tolist() == [[0.25] * 3] * 6
    assert state.targets.sampling_weights.tolist() == [0.5, 0, 0, 0, 0, 0]
    assert state.carry_over["predicted"].tolist() == [-1, 2, 0, 1, -1, 1]
    waiting = from_dict(EARLIER_STATE | {"asked": torch.tensor([4, 0]), "targets": None})
    assert waiting.queried.tolist() == [4, 0] and waiting.targets is None


def test_a_run_of_an_earlier_version_is_resumed(run, finished_run, tmp_path):
    """With its checkpoint rewritten as before 1.0, a run ends with the same bytes."""
    folder, again = run
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    assert main_al.main([*WORDS, "--al-nb-cycles", "3", "--run-dir", str(whole)]) == 0
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    state = checkpoint["state"]
    for old, new in (("asked", "queried"), ("judged", "evaluated"), ("carried", "carry_over")):
        state[old] = state.pop(new)
    state["pool"]["order"] = state["pool"].pop("labeled_order")
    state["targets"]["scores"] = state["targets"].pop("soft_labels")
    state["targets"]["odds"] = state["targets"].pop("sampling_weights")
    save_checkpoint(folder / "checkpoint.pt", checkpoint)
    assert "resuming at cycle 2" in again(0, "--al-nb-cycles", "3").out
    assert_same_run(folder, whole)
