"""Signals that ask a run to stop, sent to real processes."""

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiment import checkpoint
from tests.commands.test_main_al import MAIN, assert_same_run, run_main
from tests.forked import ForkedCommand, kill_before
from tests.waiting import files_below, is_suspended, wait_for
from utils.signals import StoppedBySignal, defer_signals, raise_on_signal

LONG = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 20, "--device", "cpu")
PRETRAINING = ("--add-unsupervised-pretraining", "--pretraining-epochs", 8)
EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


def start(*words: Any, **settings: Any) -> subprocess.Popen:
    """Start main_al.py with these options."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [str(word) for word in (sys.executable, MAIN, *words)]
    return subprocess.Popen(command, preexec_fn=reset_handlers, **pipes, **settings)


def reset_handlers() -> None:
    """Ignore no signal, as processes do that a shell has started in the background."""
    for number in EXIT_STATUS:
        signal.signal(number, signal.SIG_DFL)


def suspend_after_three_snapshots() -> None:
    """Take a snapshot after every epoch; after the third the process suspends itself, so that a
    signal comes in time on any machine."""
    checkpoint.MIN_SNAPSHOT_SECONDS, checkpoint.MAX_SNAPSHOT_TIME_SHARE = 0.0, 1.0
    take_snapshot, count = checkpoint.Checkpoints.take_snapshot, itertools.count(1)

    def take_and_suspend(*arguments: Any, **settings: Any) -> None:
        take_snapshot(*arguments, **settings)
        if next(count) == 3:
            os.kill(os.getpid(), signal.SIGSTOP)

    checkpoint.Checkpoints.take_snapshot = take_and_suspend


@pytest.fixture
def default_handlers():
    """The same for this process."""
    before = {number: signal.getsignal(number) for number in EXIT_STATUS}
    reset_handlers()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(process: subprocess.Popen | ForkedCommand, number: int) -> None:
    """Send the signal, also to a suspended process; it must end because of it, with one line."""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    _, line = process.communicate(timeout=300)
    assert process.returncode == EXIT_STATUS[number], line
    assert line.startswith(f"main_al.py: stopped by {signal.Signals(number).name}")
    assert "resume" in line and line.count("\n") == 1


def test_a_run_is_stopped_by_each_signal_and_resumes(tmp_path):
    """Without checkpoints within a cycle, so that only the signals save what is done."""
    run_main(*LONG, "--run-dir", tmp_path / "uninterrupted")
    folder = tmp_path / "run"
    words = (*LONG, "--checkpoint-epochs", 0, "--run-dir", folder)
    resumed_at = []
    for number in EXIT_STATUS:
        is_resumed = (folder / "checkpoint.pt").exists()
        process = ForkedCommand(MAIN, *words, prepare=suspend_after_three_snapshots)
        wait_for(lambda process=process: is_suspended(process.pid), process)
        stop(process, number)
        if is_resumed:
            match = re.search(r"resuming at cycle (\d+), epoch (\d+)", process.stdout)
            resumed_at.append((int(match[1]), int(match[2])))
    run_main(*words)
    assert (1, 0) < resumed_at[0] < resumed_at[1]
    assert_same_run(folder, tmp_path / "uninterrupted")


@pytest.mark.parametrize("number", EXIT_STATUS)
def test_a_signal_during_the_imports(number, tmp_path):
    """A module that is imported after torch waits for the signal.  It waits in short steps: Python
    runs a handler between two instructions, and a signal that comes after the last instruction
    before a long sleep would be handled only when the sleep is over."""
    modules, folder = tmp_path / "modules", tmp_path / "empty"
    modules.mkdir()
    folder.mkdir()
    is_importing = modules / "importing"
    code = f"import time\nopen({str(is_importing)!r}, 'w')\nwhile True:\n    time.sleep(0.05)\n"
    (modules / "faiss.py").write_text(code)
    process = start(*LONG, cwd=folder, env={**os.environ, "PYTHONPATH": str(modules)})
    wait_for(is_importing.exists, process)
    assert "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    stop(process, number)
    assert not list(folder.iterdir())


def test_a_signal_while_pretraining(tmp_path, capsys):
    words = (*LONG[:4], "--epochs", 1, *PRETRAINING, "--checkpoint-epochs", 3, "--out", tmp_path)
    process = ForkedCommand(MAIN, *words, prepare=suspend_before_second_checkpoint)
    wait_for(lambda: is_suspended(process.pid), process)
    assert files_below(tmp_path / "pretrained", "checkpoint.pt")
    stop(process, signal.SIGTERM)
    run_main(*words)
    (first_epoch,) = re.findall(r"pre-training .*from epoch (\d+)", capsys.readouterr().out)
    assert int(first_epoch) > 1


def suspend_before_second_checkpoint() -> None:
    kill_before("os.rename", "checkpoint.pt", 2, signal.SIGSTOP)


def ignore_hangup() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    suspend_before_second_checkpoint()


def test_ignored_signals_stay_ignored(tmp_path):
    """nohup: the terminal may be closed."""
    words = (*LONG, "--epochs", 3, "--run-dir", tmp_path / "run")
    process = ForkedCommand(MAIN, *words, prepare=ignore_hangup)
    wait_for(lambda: is_suspended(process.pid), process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 0


def test_a_write_is_finished_first(default_handlers):
    done = []
    with pytest.raises(StoppedBySignal) as caught, raise_on_signal(), defer_signals():
        with defer_signals():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"] and caught.value.exit_code == 143
    with pytest.raises(StoppedBySignal) as caught, raise_on_signal():
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert len(done) == 2 and caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
