"""What is not tested where a program is missing is said at the end of a test run."""

import shutil
import stat
from types import SimpleNamespace

import pytest

from tests.browser import NoBrowser, start_chromium
from tests.conftest import pytest_terminal_summary


def test_the_last_lines_of_a_test_run():
    reports = [
        SimpleNamespace(longrepr=("file.py", 1, f"Skipped: {reason}"))
        for reason in ("pages in a browser: no chromium", "needs a GPU", "needs a GPU")
    ]
    lines = []
    reporter = SimpleNamespace(stats={"skipped": reports, "passed": []}, write_line=lines.append)
    pytest_terminal_summary(reporter)
    assert lines == [
        "not tested, 2 tests: needs a GPU",
        "not tested, 1 test: pages in a browser: no chromium",
    ]


def test_a_missing_browser_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NoBrowser, match="apt-get install chromium chromium-driver"):
        start_chromium(tmp_path)


def test_a_browser_that_does_not_start_is_named(tmp_path, monkeypatch):
    """As where the processor lacks an instruction that it was built for."""
    pytest.importorskip("selenium", reason="selenium is not installed (pip install --group tests)")
    program = tmp_path / "chromedriver"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    with pytest.raises(NoBrowser, match=r"chromedriver does not start \("):
        start_chromium(tmp_path / "profile")
