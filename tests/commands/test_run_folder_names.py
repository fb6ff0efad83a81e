"""--run-dir and --out are names of folders, whatever characters they contain."""

import os

import pytest

import main_al
from tests.commands.test_main_al import MAIN, SHORT, assert_same_run
from tests.reports.test_report_faults import with_permissions

WORDS = [*map(str, SHORT), "--al-nb-cycles", "1", "--device", "cpu"]


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run main_al.py in a new working folder; returns standard output."""
    monkeypatch.chdir(tmp_path)

    def start(*words):
        assert main_al.main([*WORDS, *words]) == 0
        return capfd.readouterr().out

    return start


def test_names_are_not_patterns(run, tmp_path):
    """A pattern would find the finished run of another folder."""
    for name in ("r1", "r?", "r[1]", "r*", "a**b", "//".join([str(tmp_path), "c"])):
        assert "Finished before" not in run("--run-dir", name)
        assert "Finished before" in run("--run-dir", name)
        assert_same_run(tmp_path / "r1", tmp_path / name)


def test_out_is_not_a_pattern(run):
    for name in ("o1", "o?", "o[1]"):
        assert "Finished before" not in run("--out", name)
        assert "Finished before" in run("--out", name)


@pytest.mark.parametrize("name", [".", "./", "../work"])
def test_the_working_folder(name, run, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run("--run-dir", name)
    assert "Finished before" in run("--run-dir", name)
    run("--run-dir", name, "--resume", "False")
    assert_same_run(tmp_path / "work", tmp_path / "work.old1")


def test_a_folder_that_cannot_be_set_aside(run, command, tmp_path):
    run("--run-dir", "up/r")
    before = (tmp_path / "up" / "r" / "results.csv").read_bytes()
    os.chmod(tmp_path / "up", 0o555)
    again = with_permissions("python", MAIN, *WORDS, "--run-dir", "up/r", "--resume", "False")
    done = command(*again)
    os.chmod(tmp_path / "up", 0o755)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "up/r.old1 cannot be written: Permission denied" in done.stderr
    assert (tmp_path / "up" / "r" / "results.csv").read_bytes() == before
