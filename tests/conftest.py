"""Fixtures: golden files, a home of their own for split files, the commands as subprocesses,
a browser."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.archives import WRITERS, write_folder
from tests.browser import chromium, page  # noqa: F401  fixtures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory):
    """Missing splits are made here, not in the checkout."""
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
    """A data root with all data sets, small, and a folder of images."""
    root = tmp_path_factory.mktemp("downloads")
    for write in WRITERS.values():
        write(root)
    write_folder(root)
    return root


@pytest.fixture
def command(tmp_path):
    """Run a command of the project in a fresh folder; -> CompletedProcess, text."""

    def run(*words, cwd=tmp_path, **more):
        words = [sys.executable if word == "python" else str(word) for word in words]
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, **more)

    return run
