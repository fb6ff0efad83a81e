"""A run does not depend on its terminal: closed, full, unable to encode a character, or none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import write_array_file
from tests.commands.test_main_al import MAIN, SHORT, rows
from tests.forked import ForkedCommand
from utils import console
from utils.console import EpochProgressBar, format_duration, to_one_line

WORDS = " ".join(map(str, (*SHORT, "--device", "cpu")))


def run_in_shell(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a line of bash, in which "$run" stands for the command."""
    data = write_array_file(folder / "few.npz").name
    command = f"'{sys.executable}' '{MAIN}' --dataset arrays --data-root {data} {WORDS}"
    line = f"set -o pipefail; {line.replace('$run', command)}"
    environment = {**os.environ, **variables}
    words = ["bash", "-c", line]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)


def assert_is_complete(folder: Path) -> None:
    """The folder is that of a whole run of two cycles."""
    assert len(rows(folder / "results.csv")) == 2
    assert (folder / "log.txt").read_text().count("top-1") == 2


def print_to_a_full_disk() -> None:
    """As with "> /dev/full 2>&1"."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    os.dup2(full, 2)


def test_a_run_continues_on_a_full_disk(tmp_path):
    data = write_array_file(tmp_path / "few.npz")
    words = (*WORDS.split(), "--dataset", "arrays", "--data-root", data, "--run-dir", "run")
    assert ForkedCommand(MAIN, *words, cwd=tmp_path, prepare=print_to_a_full_disk).wait() == 0
    assert_is_complete(tmp_path / "run")


@pytest.mark.parametrize("line", ["$run --run-dir run | head -1", "$run --run-dir run >&- 2>&-"])
def test_a_run_continues_without_its_terminal(line, tmp_path):
    done = run_in_shell(tmp_path, line)
    assert done.returncode == 0 and done.stderr == ""
    assert_is_complete(tmp_path / "run")


def test_characters_that_the_terminal_cannot_encode(tmp_path):
    settings = {"PYTHONUTF8": "0", "LC_ALL": "C"}
    done = run_in_shell(tmp_path, "$run --run-dir 'Läufe α'", **settings)
    assert done.returncode == 0 and done.stderr == "" and "results.csv" in done.stdout
    assert len(rows(tmp_path / "Läufe α" / "results.csv")) == 2
    again = run_in_shell(tmp_path, "$run --run-dir 'Läufe α' --lr 0.1", **settings)
    assert again.returncode == 2 and again.stderr.count("\n") == 1


def report_often() -> None:
    """Twenty times per second."""
    console.PROGRESS_SECONDS = 0.05


def test_progress_lines_without_a_terminal(tmp_path):
    """Stage, epoch, result of the last epoch, time left: per minute, here 20 times per second."""
    words = f"{WORDS} --epochs 40 --run-dir run".split()
    done = ForkedCommand(MAIN, *words, cwd=tmp_path, prepare=report_often)
    output, errors = done.communicate()
    assert done.returncode == 0 and errors == "", errors
    lines = [line for line in output.splitlines() if "cycle 1: train, epoch " in line]
    assert len(lines) > 1 and " of 40, loss " in lines[-1] and " left" in lines[-1]
    assert lines[-1] in (tmp_path / "run" / "log.txt").read_text()


def test_time_left():
    with EpochProgressBar(range(10, 20), "cycle 3: train") as bar:
        assert bar.progress_text() == "cycle 3: train, epoch 11 of 20"
        for epoch in bar:
            if epoch == 14:
                bar.start_time -= 80
                assert bar.progress_text().startswith("cycle 3: train, epoch 15 of 20, about 2.")
        assert bar.progress_text().endswith("epoch 20 of 20, about 0 s left")
    durations = [format_duration(seconds) for seconds in (0, 89, 90, 5399, 5400, 7200)]
    assert durations == ["0 s", "89 s", "1.5 min", "90.0 min", "1.5 h", "2.0 h"]


def test_one_line():
    assert to_one_line("a\n  b\tα \x1b[2J") == r"a b α \x1b[2J"
