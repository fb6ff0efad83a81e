"""Too little memory for a run, the page of queries, a report: one line, and the command resumes."""

import pytest

import main_al
import report
from tests.commands.test_main_al import SHORT, assert_same_run
from tests.conftest import ROOT
from tests.reports.test_report_faults import write_run
from utils.memory import is_out_of_memory

# Arguments: the command's module, MiB beyond what it has when everything is imported, its argv.
LIMITED = """
import importlib, resource, sys
import sklearn.datasets, sklearn.metrics
command = importlib.import_module(sys.argv[1])
pages = int(open("/proc/self/statm").read().split()[0])
size = pages * resource.getpagesize() + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
sys.exit(command.main(sys.argv[3:]))
"""
WORDS = [*map(str, SHORT), "--device", "cpu", "--arch", "small_cnn"]
MEBIBYTES = 8  # enough for the data and the network, too little to train it


@pytest.fixture
def run_limited(command):
    """Run a command with this many MiB; it must end with status 1 and one line of error."""

    def run(name, mebibytes, *words):
        done = command("python", "-c", LIMITED, name, mebibytes, *words)
        errors = [line for line in done.stderr.splitlines() if ": error: " in line]
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert len(errors) == 1 and f"{name}.py: error: out of memory: " in errors[0], done.stderr

    return run


def test_a_run(run_limited, tmp_path, monkeypatch):
    """The memory ends while it trains; the page below ends at the first allocations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run_limited("main_al", MEBIBYTES, *WORDS, "--run-dir", "run")
    assert main_al.main([*WORDS, "--run-dir", "run"]) == 0
    assert main_al.main([*WORDS, "--run-dir", "whole"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_the_page_of_queries(run_limited, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = [*WORDS, "--oracle", "file", "--initial", "random", "--run-dir", "run"]
    run_limited("main_al", 2, *words)
    assert main_al.main(words) == 3
    assert (tmp_path / "run" / "queries.html").stat().st_size


def test_a_report(run_limited, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_run(tmp_path / "runs" / "good")
    run_limited("report", 20, "runs", "--out", "report")
    assert report.main(["runs", "--out", "report"]) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("size mismatch"), False),
        (OSError(28, "No space left on device"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors(error, expected):
    assert is_out_of_memory(error) == expected


def test_an_error_hides_the_first_one():
    try:
        try:
            raise MemoryError
        finally:
            raise RuntimeError("unexpected pos 6437568 vs 6437464")
    except RuntimeError as error:
        assert is_out_of_memory(error)
