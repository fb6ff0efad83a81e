"""The progress line of a sweep, on a real terminal and without one."""

import fcntl
import os
import select
import struct
import sys
import termios
import time

import pytest

from sweeps.progress import ProgressLine

COLUMNS = 30  # fewer than the line has


@pytest.fixture
def clock(monkeypatch):
    """-> a list whose number is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def read_terminal(reader, until):
    """What a terminal shows, until it ends with these characters."""
    shown = ""
    while not shown.endswith(until) and select.select([reader], [], [], 60)[0]:
        shown += os.read(reader, 1000).decode()
    return shown


def test_one_line_that_is_overwritten_on_a_terminal(monkeypatch, clock):
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with open(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        line = ProgressLine(8)
        line.num_done = 2
        clock[0] += 60
        line.update_line(running=3, failed=1)
        shown = "2 of 8 runs done, 3 running, 1 failed"[: COLUMNS - 1]
        assert read_terminal(reader, until=shown) == f"\r\x1b[K{shown}"
        line.update_line(running=2, failed=1)  # within the same second: nothing
        line.print_above("run 3 failed")
        assert read_terminal(reader, until="\n") == "\r\x1b[Krun 3 failed\r\n"
    os.close(reader)


@pytest.mark.parametrize(("num_done", "failed", "expected"), [
    (0, 0, "0 of 8 runs done, 3 running"),
    (2, 0, "2 of 8 runs done, 3 running, about 3.0 min left"),
    (4, 1, "4 of 8 runs done, 3 running, 1 failed, about 60 s left"),
])  # fmt: skip
def test_a_new_line_per_minute_without_a_terminal(capsys, clock, num_done, failed, expected):
    """Two of eight runs in a minute leave three minutes for the other six."""
    line = ProgressLine(8)
    line.num_done = num_done
    for seconds in (59, 1, 59):
        clock[0] += seconds
        line.update_line(3, failed)
    assert capsys.readouterr().err == expected + "\n"
