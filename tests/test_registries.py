"""A row is one file and one line: five rows that only the tests know are run, killed, gone on with
and reported, and so are the options that they bring."""

import json
import os
import signal
import subprocess
import sys

import pytest

from experiment.checkpoint import load_checkpoint
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.waiting import wait_for

WORDS = (
    "--dataset guest --al-method guest --add-guest --add-unsupervised-pretraining "
    "--pretraining-method guest --pretraining-epochs 4 --al-budget 10 --al-nb-cycles 3 "
    "--epochs 12 --checkpoint-epochs 3 --device cpu"
)
OPTIONS = {
    "guest_upside_down": True,
    "guest_width": 6,
    "guest_stride": 2,
    "guest_strength": 0.5,
    "guest_darkest": 0.25,
}


def start(words, **environment) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.plugins.main", *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def folder_of(out):
    method = out / "guest" / "budget10" / "guest" / "guest_with_guest_pretrained"
    return next(method.glob("*/split0"))


@pytest.mark.parametrize("kind", ["plain", "options"])
def test_rows_are_run_killed_gone_on_with_and_reported(tmp_path, kind, command):
    more = [] if kind == "plain" else [f"--{n.replace('_', '-')}={v}" for n, v in OPTIONS.items()]
    words = [*WORDS.split(), *more, "--out"]
    finish(start([*words, tmp_path / "whole"], GUESTS=kind))
    whole = folder_of(tmp_path / "whole")

    process = start([*words, tmp_path / "killed"], GUESTS=kind)

    def in_the_middle() -> bool:
        path = next((tmp_path / "killed").glob("guest/*/*/*/*/split0/checkpoint.pt"), None)
        state = load_checkpoint(path)["state"] if path else {"cycle": 0}
        return state["cycle"] == 1 and state["epoch"] >= 3

    wait_for(in_the_middle, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    out = finish(start([*words, tmp_path / "killed"], GUESTS=kind))
    assert "going on from cycle 2" in out and "pre-trained weights: " in out
    assert_same_run(folder_of(tmp_path / "killed"), whole)
    assert "Finished before" in finish(start([*words, tmp_path / "killed"], GUESTS=kind))

    known = json.loads((whole / "config.json").read_text())["identity"]["options"]
    assert known["add_guest"] and known["pretraining_method"] == "guest" and known["ema"] == 0.8
    assert {name: known.get(name) for name in OPTIONS} == (
        OPTIONS if kind == "options" else dict.fromkeys(OPTIONS)
    )
    weights = load_checkpoint(
        next((tmp_path / "whole").glob("pretrained/guest/guest/*/weights.pt"))
    )
    learned = weights["identity"]["options"]
    assert ("guest_darkest" in learned and "guest_width" in learned) == (kind == "options")
    assert "guest_stride" not in learned and "guest_strength" not in learned  # of the run alone
    done = command("python", ROOT / "report.py", tmp_path / "whole")
    assert done.returncode == 0 and "GUEST" in done.stdout and "10 labels" in done.stdout


def test_the_options_of_rows_that_are_not_chosen_are_refused():
    for name, value in OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        process = start([f"{flag}={value}"], GUESTS="options")
        _, err = process.communicate(timeout=100)
        assert process.returncode == 2 and f"{flag} is read only with --" in err
    out = finish(start(["--help"], GUESTS="options"))
    assert all(f"--{name.replace('_', '-')}" in out for name in OPTIONS)


def test_nobody_else_knows_the_guests():
    found = subprocess.run(
        ["git", "grep", "-il", "guest", "--", "*.py", ":!tests"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout == ""
