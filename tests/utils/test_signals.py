"""Signals that ask a run to stop, sent to real processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.test_main_al import MAIN, assert_same_run
from tests.waiting import below, wait_for
from utils.signals import StoppedBySignal, defer_signals, raise_on_signal

LONG = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 400, "--device", "cpu")
PRE = ("--add-unsupervised-pretraining", "--pretraining-epochs", 12)
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


def begin(*words, **more):
    words = [sys.executable, MAIN, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, words)), preexec_fn=hear, **pipes, **more)


def hear() -> None:
    """Let no signal be ignored, as all are in what a shell has started in the background."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def heard():
    """The same for this process."""
    before = {number: signal.getsignal(number) for number in STATUS}
    hear()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped(process, number):
    """Send the signal; -> what the process said last."""
    process.send_signal(number)
    sent = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert process.returncode == STATUS[number], told
    name = signal.Signals(number).name
    assert told == f"main_al.py: stopped by {name}; the same command goes on\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = begin(*LONG, "--run-dir", folder)
    assert process.wait() == 0
    return folder


def test_a_run_is_stopped_by_each_and_goes_on(tmp_path, whole):
    """Without a checkpoint of its own within a cycle: what is kept is what the signal saves."""
    folder = tmp_path / "run"
    words = (*LONG, "--checkpoint-epochs", 0, "--run-dir", folder)
    for number in STATUS:
        process = begin(*words)
        if (folder / "checkpoint.pt").exists():
            assert any("going on from cycle" in line for line in process.stdout)
        else:
            wait_for((folder / "checkpoint.pt").exists, process)
        time.sleep(1.2 if number == signal.SIGINT else 0.1)  # long enough for something to be kept
        stopped(process, number)
    done = begin(*words)
    told, _ = done.communicate()
    assert done.returncode == 0 and "going on from cycle" in told
    assert_same_run(folder, whole)


@pytest.mark.parametrize("number", STATUS)
def test_during_the_imports(number, tmp_path):
    process = begin(*LONG, cwd=tmp_path)
    mapped = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "libtorch" in mapped.read_text(), process)  # seconds before they are over
    stopped(process, number)
    assert not list(tmp_path.iterdir())


def test_while_pretraining(tmp_path):
    words = (*LONG[:4], "--epochs", 1, *PRE, "--checkpoint-epochs", 3, "--out", tmp_path)
    process = begin(*words)
    wait_for(lambda: below(tmp_path / "pretrained", "checkpoint.pt"), process)
    stopped(process, signal.SIGTERM)
    again = begin(*words)
    told, _ = again.communicate()
    assert again.returncode == 0 and "from epoch 0" not in told


def test_what_is_ignored_stays_ignored(tmp_path):
    """nohup: the terminal may be closed."""
    words = ("nohup", sys.executable, MAIN, *LONG, "--epochs", 60, "--run-dir", tmp_path / "run")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(list(map(str, words)), **quiet)
    wait_for((tmp_path / "run" / "checkpoint.pt").exists, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0


def test_a_write_is_finished_first(heard):
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
