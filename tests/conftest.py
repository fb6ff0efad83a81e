"""Fixtures: golden files, a temporary folder for split files, small data sets, the commands as
subprocesses, a browser."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.archives import WRITERS, write_folder
from tests.browser import chromium, page  # noqa: F401  fixtures

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be left out
def pytest_xdist_auto_num_workers() -> int:
    """Processes of `make test`: one more than there are cores, because many tests wait for others
    that they start."""
    return (os.cpu_count() or 1) + 1


def pytest_terminal_summary(terminalreporter):
    """The last lines of a test run: what was not tested, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in sorted(reasons.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"not tested, {tests}: {reason}")


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory):
    """The folder of split files that tests create; not in the checkout."""
    folder = tmp_path_factory.mktemp("labels")
    os.environ["AL_LABELS_ROOT"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def golden():
    def load(name):
        return np.load(ROOT / "tests" / "golden" / f"{name}.npz", allow_pickle=False)

    return load


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """A data root with small versions of all data sets and a folder of images."""
    root = tmp_path_factory.mktemp("downloads")
    for write in WRITERS.values():
        write(root)
    write_folder(root)
    return root


@pytest.fixture
def command(tmp_path):
    """Run a command in a new folder; "python" is this interpreter.  -> CompletedProcess, text."""

    def run(*words, cwd=tmp_path, **settings):
        words = [sys.executable if word == "python" else str(word) for word in words]
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, **settings)

    return run
