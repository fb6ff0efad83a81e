"""The report with damaged run folders, unwritable output files and broken output streams."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import report
from tests.conftest import ROOT
from tests.reports.test_report import OPTIONS

HEADER = "cycle,labeled,top1\n"
RESULTS = f"{HEADER}0,10,50\n1,20,60\n"
TABLE = "| 50.0 | 60.0 |"
BOTH = ("--figure", "new/f.png", "--table", "t.md")


def write_run(folder, results=RESULTS, cycles=2, **changes):
    options = OPTIONS | changes
    folder.mkdir(parents=True)
    config = {"al_nb_cycles": cycles, "identity": {"options": options, "data": "3fe2a1"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.csv").write_text(results)
    return folder


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    """The working folder of the test, with one good run in runs/good."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "good")
    return tmp_path


@pytest.fixture
def error_line(work_folder, capsys):
    """Runs the report, which must fail with one line and change nothing, and returns that line."""

    def run(expected_status, *argv):
        before = contents(work_folder)
        capsys.readouterr()
        try:
            status = report.main([str(word) for word in argv])
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        assert status == expected_status and not out, err
        assert err.count("\n") == 1 and err.startswith("report.py: error: "), err
        assert contents(work_folder) == before
        return err

    return run


def contents(folder):
    """Everything in a folder: path -> bytes of a file, None for all else."""
    paths = sorted(folder.rglob("*"))
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def with_permissions(*command):
    """The command such that file permissions apply to it, even if the tests run as root."""
    if os.geteuid():
        return command
    if not shutil.which("setpriv"):
        pytest.skip("root may read and write everything")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *command)


def test_damaged_run_folders_are_left_out_with_a_note(work_folder, command):
    def remove_file(name, file="results.csv"):
        path = write_run(work_folder / "runs" / name, split=len(reasons)) / file
        path.unlink()
        return path

    reasons = {}
    remove_file("a1").mkdir()
    os.mkfifo(remove_file("a2"))
    remove_file("a3").symlink_to("/dev/zero")
    remove_file("b1", "config.json").mkdir()
    os.mkfifo(remove_file("b2", "config.json"))
    for name in ("a1", "a2", "a3"):
        reasons[name] = "results.csv is not a regular file"
    for name in ("b1", "b2"):
        reasons[name] = "config.json is not a regular file"
    remove_file("c").with_name("log.txt").write_text("begun")
    reasons["c"] = "no results.csv"
    garbled = {
        "d1": (f"{HEADER}0,10,50\n1,9,60\n", "labeled is not"),
        "d2": (f"{HEADER}0,10,50\n1,20,nan\n", "top1 is not"),
        "d3": (f"{HEADER}0,10,50\n1,20,6\0\n", "zero byte"),
        "d4": (f"{HEADER}0,10,50\n1,20,60,1,2\n", "cannot be read"),
        "d5": (HEADER, "0 of 2 cycles"),
    }
    for name, (text, reason) in garbled.items():
        write_run(work_folder / "runs" / name, text, split=20)
        reasons[name] = reason
    write_run(work_folder / "runs" / "e1", HEADER, cycles=0)
    reasons["e1"] = "how many cycles"
    deep = [[[]]]
    write_run(work_folder / "runs" / "e2", lr=deep)
    reasons["e2"] = "plain values"
    write_run(work_folder / "runs" / "z.older", split=1)  # not a name that --resume False gives
    done = command("python", ROOT / "report.py", "runs", timeout=600)
    assert done.returncode == 0 and "| 50.0 ± 0.0 | 60.0 ± 0.0 |" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(reasons), done.stderr
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"left out: runs/{name}: ") and reason in line


def test_impossible_numbers_and_pipes_stop_no_report(work_folder):
    """The costs of this run stay empty; the accuracies of all runs are reported."""
    results = f"cycle,labeled,top1,steps,pseudo_labels\n0,10,50,1,0\n1,{10**15},60,1,{10**15}\n"
    run = write_run(work_folder / "runs" / "a", results, split=1)
    os.mkfifo(run / "timing.csv")
    os.mkfifo(run / "environment.json")
    assert report.main(["runs", "--out", "r"]) == 0
    assert "50.0" in (work_folder / "r" / "report.html").read_text()


def test_a_cycle_without_a_new_label_counts_once(work_folder, command):
    """A person could not tell the class of any image; the last training is reported."""
    (work_folder / "runs" / "good" / "results.csv").write_text(f"{HEADER}0,10,50\n1,10,60\n")
    done = command("python", ROOT / "report.py", "runs", timeout=600)
    assert done.returncode == 0 and done.stderr == ""
    assert "| 10 labels |" in done.stdout and "| 60.0 |" in done.stdout


def test_unreadable_run_folders_are_left_out_with_a_note(work_folder, command):
    for split, name in enumerate(("config.json", "results.csv", ""), 1):
        path = write_run(work_folder / "runs" / f"shut{split}", split=split) / name
        path.chmod(0)
    lease = (
        work_folder / "runs" / "good" / ".lease"
    )  # of another user, or removed since it was listed
    lease.mkdir(mode=0)
    done = command(*with_permissions("python", ROOT / "report.py", "runs"))
    (work_folder / "runs" / "shut3").chmod(0o700)
    assert done.returncode == 0 and TABLE in done.stdout, done.stderr
    lines = sorted(done.stderr.splitlines())
    assert len(lines) == 3
    for line, number, keyword in zip(
        lines, (1, 2, 3), ("config", "results", "opened"), strict=True
    ):
        assert line.startswith(f"left out: runs/shut{number}: ")
        assert keyword in line and "Permission denied" in line


def test_bad_arguments(error_line):
    assert "must end in .png or .pdf or .svg" in error_line(2, "runs", "--figure", "x.foo")
    assert "''" in error_line(2, "")
    line = error_line(2, "runs/good/config.json")
    assert "runs/good/config.json" in line and "not a folder" in line
    assert line.endswith("such as runs/good\n")


def test_report_overwrites_only_its_own_files(work_folder, error_line):
    (work_folder / "foreign.png").write_bytes(b"\x89PNG\r\n\x1a\n of a camera")
    (work_folder / "foreign.csv").write_text("dataset,training,method,mine\n")
    (work_folder / "null.csv").symlink_to("/dev/null")
    (work_folder / "folder.png").mkdir()
    os.mkfifo(work_folder / "pipe.md")
    (work_folder / "alias").symlink_to("runs/good")
    for option, path, reason in (
        ("--figure", "foreign.png", "not written by a report"),
        ("--table", "foreign.csv", "not written by a report"),
        ("--table", "/dev/null", "must end in"),
        ("--table", "null.csv", "not a regular file"),
        ("--figure", "folder.png", "not a regular file"),
        ("--table", "pipe.md", "not a regular file"),
        ("--table", "runs/good/timing.csv", "a run's own file"),
        ("--table", "runs/good/config.json", "must end in"),
        ("--table", "runs/good/new/table.csv", "in a run folder"),
        ("--figure", "alias/f.svg", "in a run folder"),
    ):
        line = error_line(2, "runs", option, path)
        assert path in line and reason in line


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("new/" + 300 * "n", "File name too long"),
        (300 * "n" + "/t", "File name too long"),
        ("file/t", "Not a directory"),
        ("/proc/t", ""),
    ],
)
def test_impossible_paths(work_folder, error_line, place, reason):
    """They are found before anything is written: the other file is not written either."""
    (work_folder / "file").touch()
    for argv in (
        ("--table", f"{place}.md", "--figure", "other/f.png"),
        ("--table", "other/t.csv", "--figure", f"{place}.svg"),
    ):
        line = error_line(1, "runs", *argv)
        assert f"{place}." in line and "cannot be written" in line and reason in line


def test_read_only_targets(work_folder, command):
    (work_folder / "shut").mkdir()
    (work_folder / "shut").chmod(0o500)
    (work_folder / "kept.png").touch(0o400)
    for figure in ("shut/f.png", "kept.png"):
        argv = ("runs", "--table", "t.md", "--figure", figure)
        done = command(*with_permissions("python", ROOT / "report.py", *argv))
        assert done.returncode == 1 and not done.stdout
        assert done.stderr.startswith("report.py: error: ") and done.stderr.count("\n") == 1
        assert figure in done.stderr and "Permission denied" in done.stderr
        assert sorted(path.name for path in work_folder.iterdir()) == ["kept.png", "runs", "shut"]


def test_disk_full_while_writing(work_folder, command):
    """All files are written or none, and no empty folder stays."""
    done = command(
        *("python", ROOT / "report.py", "runs", *BOTH),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "new/f.png" in done.stderr and "File too large" in done.stderr
    assert [path.name for path in work_folder.iterdir()] == ["runs"]


def broken_stream(kind):
    """A file descriptor for standard output that cannot be written to."""
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("full", 1, "No space left on device"),
        ("pipe without reader", 0, ""),  # as by `head -1`
        ("closed", 0, ""),
    ],
)
def test_table_that_cannot_be_printed(work_folder, kind, status, reason):
    argv = [sys.executable, str(ROOT / "report.py"), "runs", *BOTH]
    if kind == "closed":
        done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *argv], stderr=subprocess.PIPE)
    else:
        stream = broken_stream(kind)
        done = subprocess.run(argv, stdout=stream, stderr=subprocess.PIPE)
        os.close(stream)
    error = done.stderr.decode()
    assert done.returncode == status and reason in error
    assert error.count("\n") == (1 if reason else 0) and bool(error) == bool(reason)
    assert TABLE in Path("t.md").read_text()
    assert Path("new/f.png").read_bytes().startswith(b"\x89PNG")


def test_notes_that_cannot_be_printed(work_folder, command):
    write_run(work_folder / "runs" / "bad", "")
    argv = (sys.executable, ROOT / "report.py", "runs")
    done = command("sh", "-c", '"$@" 2>/dev/full', "sh", *argv)
    assert done.returncode == 0 and TABLE in done.stdout


def test_names_that_cannot_be_encoded(work_folder, command):
    """Neither a terminal without Unicode nor a folder name that is not text stops the report."""
    write_run(work_folder / "runs" / "größe", al_method="méthode 日本")
    write_run(work_folder / "runs" / "surrogate", al_method="\ud800\x1b[31m\0")
    write_run(work_folder / "runs" / os.fsdecode(b"\xff\n"), "")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for env in (ascii_only, {"LC_ALL": "C"}):
        for name in ("é.svg", "é.csv"):
            (work_folder / name).unlink(missing_ok=True)
        argv = ("runs", "--figure", "é.svg", "--table", "é.csv")
        done = command("python", ROOT / "report.py", *argv, env=os.environ | env)
        assert done.returncode == 0 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("left out: runs/\\udcff"), done.stderr
        assert done.stdout.count(TABLE) == 3 and "\0" not in done.stdout
        assert "méthode 日本" in (work_folder / "é.csv").read_text(encoding="utf-8")
        assert (work_folder / "é.svg").read_bytes().startswith(b"<?xml")
