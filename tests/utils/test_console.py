"""The terminal is not the run: closed, full, unable to spell, or none at all."""

import os
import subprocess
import sys

import pytest

from tests.commands.test_main_al import MAIN, SHORT, rows
from utils.console import EpochProgressBar, format_duration

WORDS = " ".join(map(str, (*SHORT, "--device", "cpu")))


def shell(tmp_path, line, **more):
    """A line of shell, in which "$run" is the command."""
    run = f"'{sys.executable}' '{MAIN}' {WORDS}"
    line = f"set -o pipefail; {line.replace('$run', run)}"
    environment = {**os.environ, **more}
    words = ["bash", "-c", line]
    return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "line",
    [
        "$run --run-dir run | head -1",
        "$run --run-dir run >&- 2>&-",
        "$run --run-dir run > /dev/full 2>&1",
    ],
)
def test_training_goes_on_with_the_log_file(line, tmp_path):
    done = shell(tmp_path, line)
    assert done.returncode == 0 and done.stderr == ""
    assert len(rows(tmp_path / "run" / "results.csv")) == 2
    assert (tmp_path / "run" / "log.txt").read_text().count("top-1") == 2


@pytest.mark.parametrize("more", [{"LC_ALL": "C"}])
def test_letters_that_the_terminal_does_not_have(more, tmp_path):
    done = shell(tmp_path, "$run --run-dir 'Läufe α'", PYTHONUTF8="0", **more)
    assert done.returncode == 0 and done.stderr == "" and "results.csv" in done.stdout
    assert len(rows(tmp_path / "Läufe α" / "results.csv")) == 2
    again = shell(tmp_path, "$run --run-dir 'Läufe α' --lr 0.1", PYTHONUTF8="0", **more)
    assert again.returncode == 2 and again.stderr.count("\n") == 1


def test_without_a_terminal_a_line_a_minute(tmp_path):
    """Stage, epoch, what the last one gave, time left; here ten times a second."""
    code = (
        "import sys, main_al; sys.modules['utils.console'].EVERY = 0.1; main_al.main(sys.argv[1:])"
    )
    words = f"{WORDS} --epochs 150 --run-dir run".split()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(MAIN.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = [line for line in done.stdout.splitlines() if "cycle 1: train, epoch " in line]
    assert len(lines) > 1 and " of 150, loss " in lines[-1] and " left" in lines[-1]
    assert lines[-1] in (tmp_path / "run" / "log.txt").read_text()


def test_time_left():
    with EpochProgressBar(range(10, 20), "cycle 3: train") as shown:
        assert shown.progress_text() == "cycle 3: train, epoch 11 of 20"
        for epoch in shown:
            if epoch == 14:
                shown.start_time -= 80
                assert shown.progress_text().startswith("cycle 3: train, epoch 15 of 20, about 2.")
        assert shown.progress_text().endswith("epoch 20 of 20, about 0 s left")
    said = [format_duration(seconds) for seconds in (0, 89, 90, 5399, 5400, 7200)]
    assert said == ["0 s", "89 s", "1.5 min", "90.0 min", "1.5 h", "2.0 h"]
