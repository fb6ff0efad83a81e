"""Fixtures: a run with the labels of the data, and runs that wait for human labels.

The processes of `start` fork from a server that has imported the program once, which saves seconds
per process."""

import multiprocessing

import pytest

import main_al
from tests.conftest import ROOT
from tests.labeling import sessions
from tests.labeling.sessions import SHORT, run_until_kill


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The folder of a run of three cycles that takes its labels from the data."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main_al.main([*SHORT.split(), "--al-nb-cycles", "3", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def start(monkeypatch_module):
    """Run main_al.py in a process, perhaps killed; returns its exit status."""
    monkeypatch_module.setenv("PYTHONPATH", str(ROOT))  # for the server process
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([sessions.__name__, "torch._dynamo", "sklearn.model_selection"])

    def run(folder, event="", name="", occurrence=1, more=()) -> int:
        words = [*SHORT.split(), "--oracle", "file", "--checkpoint-epochs", "1"]
        words += ["--al-nb-cycles", "3", "--run-dir", str(folder), *more]
        process = server.Process(target=run_until_kill, args=(words, event, name, occurrence))
        process.start()
        process.join(600)
        return process.exitcode

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
