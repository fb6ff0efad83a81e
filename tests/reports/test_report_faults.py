"""The report among files that are none, places that cannot be written, and broken streams."""

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


def write_run(folder, results=RESULTS, cycles=2, **given):
    options = OPTIONS | given
    folder.mkdir(parents=True)
    config = {"al_nb_cycles": cycles, "identity": {"options": options, "data": "3fe2a1"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.csv").write_text(results)
    return folder


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder to work in, with one good run; -> the folder."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "good")
    return tmp_path


@pytest.fixture
def refused(there, capsys):
    """Run the report, which refuses in one line and leaves all as it is; -> that line."""

    def run(status, *words):
        before = contents(there)
        capsys.readouterr()
        try:
            found = report.main([str(word) for word in words])
        except SystemExit as error:
            found = error.code
        out, err = capsys.readouterr()
        assert found == status and not out, err
        assert err.count("\n") == 1 and err.startswith("report.py: error: "), err
        assert contents(there) == before
        return err

    return run


def contents(folder):
    """What is there: path -> bytes of a file, None of all else."""
    found = sorted(folder.rglob("*"))
    return {path: path.read_bytes() if path.is_file() else None for path in found}


def bound(*words):
    """A command whose process heeds permissions, even root's."""
    if os.geteuid():
        return words
    if not shutil.which("setpriv"):
        pytest.skip("root may read and write everything")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *words)


def test_what_is_no_file_of_a_run_is_listed_and_left_out(there, command):
    def spoil(name, file="results.csv", **given):
        path = write_run(there / "runs" / name, split=len(why), **given) / file
        path.unlink()
        return path

    why = {}
    spoil("a1").mkdir()
    os.mkfifo(spoil("a2"))
    spoil("a3").symlink_to("/dev/zero")
    spoil("b1", "config.json").mkdir()
    os.mkfifo(spoil("b2", "config.json"))
    for name in ("a1", "a2", "a3"):
        why[name] = "results.csv is not a regular file"
    for name in ("b1", "b2"):
        why[name] = "config.json is not a regular file"
    spoil("c").with_name("log.txt").write_text("begun")
    why["c"] = "it has no results.csv"
    garbled = {
        "d1": (f"{HEADER}0,10,50\n1,10,60\n", "labeled is not a growing number"),
        "d2": (f"{HEADER}0,10,50\n1,20,nan\n", "top1 is not a percentage"),
        "d3": (f"{HEADER}0,10,50\n1,20,6\0\n", "it has a zero byte"),
        "d4": (f"{HEADER}0,10,50\n1,20,60,1,2\n", "cannot be read"),
        "d5": (HEADER, "0 of 2 cycles are done"),
    }
    for name, (text, reason) in garbled.items():
        write_run(there / "runs" / name, text, split=20)
        why[name] = reason
    write_run(there / "runs" / "e1", HEADER, cycles=0)
    why["e1"] = "how many cycles"
    deep = [[[]]]
    write_run(there / "runs" / "e2", lr=deep)
    why["e2"] = "plain values"
    write_run(there / "runs" / "z.older", split=1)  # set aside by nobody
    done = command("python", ROOT / "report.py", "runs", timeout=60)
    assert done.returncode == 0 and "| 50.0 ± 0.0 | 60.0 ± 0.0 |" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(why), done.stderr
    for line, (name, reason) in zip(lines, why.items(), strict=True):
        assert line.startswith(f"left out: runs/{name}: ") and reason in line


def test_what_may_not_be_read_is_listed_and_left_out(there, command):
    for split, name in enumerate(("config.json", "results.csv", ""), 1):
        path = write_run(there / "runs" / f"shut{split}", split=split) / name
        path.chmod(0)
    lease = there / "runs" / "good" / ".lease"  # of another user, or gone since it was listed
    lease.mkdir(mode=0)
    done = command(*bound("python", ROOT / "report.py", "runs"))
    (there / "runs" / "shut3").chmod(0o700)
    assert done.returncode == 0 and TABLE in done.stdout, done.stderr
    assert sorted(done.stderr.splitlines()) == [
        "left out: runs/shut1: config.json cannot be read (Permission denied)",
        "left out: runs/shut2: results.csv cannot be read (Permission denied)",
        "left out: runs/shut3: it cannot be opened (Permission denied)",
    ]


def test_words_that_name_nothing(refused):
    assert "must end in .png or .pdf or .svg" in refused(2, "runs", "--figure", "x.foo")
    assert "'' is empty" in refused(2, "")
    line = refused(2, "runs/good/config.json")
    assert "no finished run below runs/good/config.json: it is not a folder" in line


def test_what_is_not_the_reports_own_is_left_alone(there, refused):
    (there / "foreign.png").write_bytes(b"\x89PNG\r\n\x1a\n of a camera")
    (there / "foreign.csv").write_text("dataset,training,method,mine\n")
    (there / "null.csv").symlink_to("/dev/null")
    (there / "folder.png").mkdir()
    os.mkfifo(there / "pipe.md")
    (there / "alias").symlink_to("runs/good")
    for option, path, reason in (
        ("--figure", "foreign.png", "not of a report"),
        ("--table", "foreign.csv", "not of a report"),
        ("--table", "/dev/null", "must end in"),
        ("--table", "null.csv", "not a regular file"),
        ("--figure", "folder.png", "not a regular file"),
        ("--table", "pipe.md", "not a regular file"),
        ("--table", "runs/good/timing.csv", "a run's own file"),
        ("--table", "runs/good/config.json", "must end in"),
        ("--table", "runs/good/new/table.csv", "in a run's folder"),
        ("--figure", "alias/f.svg", "in a run's folder"),
    ):
        line = refused(2, "runs", option, path)
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
def test_what_the_system_refuses(there, refused, place, reason):
    """Found before anything is written: the other file is not there either."""
    (there / "file").touch()
    for words in (
        ("--table", f"{place}.md", "--figure", "other/f.png"),
        ("--table", "other/t.csv", "--figure", f"{place}.svg"),
    ):
        line = refused(1, "runs", *words)
        assert f"{place}." in line and f"cannot be written: {reason}" in line


def test_what_is_read_only(there, command):
    (there / "shut").mkdir()
    (there / "shut").chmod(0o500)
    (there / "kept.png").touch(0o400)
    for figure in ("shut/f.png", "kept.png"):
        words = ("--table", "t.md", "--figure", figure)
        done = command(*bound("python", ROOT / "report.py", "runs", *words))
        assert done.returncode == 1 and not done.stdout
        told = f"report.py: error: {figure} cannot be written: Permission denied ("
        assert done.stderr.startswith(told) and done.stderr.count("\n") == 1
        assert sorted(path.name for path in there.iterdir()) == ["kept.png", "runs", "shut"]


def test_a_disk_that_is_full_half_way(there, command):
    """All of the files or none, and no folder for none."""
    done = command(
        *("python", ROOT / "report.py", "runs", *BOTH),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "new/f.png cannot be written: File too large (" in done.stderr
    assert [path.name for path in there.iterdir()] == ["runs"]


def streams(kind):
    """-> standard output for a process that cannot write to it."""
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("full", 1, "report.py: error: the table cannot be printed (No space left on device)\n"),
        ("left", 0, ""),  # as by `head -1`
        ("closed", 0, ""),
    ],
)
def test_an_output_that_takes_nothing(there, kind, status, said):
    words = [sys.executable, str(ROOT / "report.py"), "runs", *BOTH]
    if kind == "closed":
        done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], stderr=subprocess.PIPE)
    else:
        stream = streams(kind)
        done = subprocess.run(words, stdout=stream, stderr=subprocess.PIPE)
        os.close(stream)
    assert (done.returncode, done.stderr.decode()) == (status, said)
    assert TABLE in Path("t.md").read_text()
    assert Path("new/f.png").read_bytes().startswith(b"\x89PNG")


def test_notes_that_nobody_takes(there, command):
    write_run(there / "runs" / "bad", "")
    words = (sys.executable, ROOT / "report.py", "runs")
    done = command("sh", "-c", '"$@" 2>/dev/full', "sh", *words)
    assert done.returncode == 0 and TABLE in done.stdout


def test_names_that_the_locale_or_no_coding_has(there, command):
    """Neither a terminal without Unicode nor a name that is no text stops the report."""
    write_run(there / "runs" / "größe", al_method="méthode 日本")
    write_run(there / "runs" / "surrogate", al_method="\ud800\x1b[31m\0")
    write_run(there / "runs" / os.fsdecode(b"\xff\n"), "")
    ascii_alone = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for env in (ascii_alone, {"LC_ALL": "C"}):
        for name in ("é.svg", "é.csv"):
            (there / name).unlink(missing_ok=True)
        words = ("runs", "--figure", "é.svg", "--table", "é.csv")
        done = command("python", ROOT / "report.py", *words, env=os.environ | env)
        assert done.returncode == 0 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("left out: runs/\\udcff"), done.stderr
        assert done.stdout.count(TABLE) == 3 and "\0" not in done.stdout
        assert "méthode 日本" in (there / "é.csv").read_text(encoding="utf-8")
        assert (there / "é.svg").read_bytes().startswith(b"<?xml")
