"""Fixtures: a run with the labels of the data, and runs that wait for human labels."""

import functools

import pytest

import main_al
from tests.commands.test_main_al import MAIN
from tests.forked import ForkedCommand, kill_before
from tests.labeling.sessions import SHORT


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The folder of a run of three cycles that takes its labels from the data."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main_al.main([*SHORT.split(), "--al-nb-cycles", "3", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def start():
    """Run main_al.py in a process -> its exit status.

    event, name, occurrence: when to kill it, as `kill_before` says; "" not to kill it."""

    def run(folder, event="", name="", occurrence=1, more=()) -> int:
        words = [*SHORT.split(), "--oracle", "file", "--checkpoint-epochs", "1"]
        words += ["--al-nb-cycles", "3", "--run-dir", str(folder), *more]
        kill = functools.partial(kill_before, event, name, occurrence) if event else None
        return ForkedCommand(MAIN, *words, prepare=kill).wait(600)

    return run


@pytest.fixture
def run(tmp_path, capsys):
    """main_al.py with --oracle file in one folder; returns exit status and standard error."""

    def call(*more) -> tuple[int, str]:
        words = [*SHORT.split(), "--oracle", "file", "--al-nb-cycles", "2", *map(str, more)]
        try:
            status = main_al.main([*words, "--run-dir", str(tmp_path / "run")])
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr().err

    return call
