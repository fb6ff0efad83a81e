"""Identification of hosts and processes that stays unique when process ids are reused."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any


def host_info() -> dict[str, Any]:
    """Host name, boot id, and namespace of process ids (each container has its own).

    The boot id is "" where it cannot be read; only Linux has one."""
    boot, pids = "", 0
    with suppress(OSError):
        pids = os.stat("/proc/self/ns/pid").st_ino
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"host": socket.gethostname(), "boot": boot, "pids": pids}


def process_start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; tells processes with a reused id apart.

    None if that cannot be read, 0 for a process that has ended and waits for its parent."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may contain spaces
    state, threads, start = fields[0], int(fields[17]), int(fields[19])  # 3, 20, 22 in proc(5)
    # The first thread of a killed process may have ended while another one is still writing.
    return 0 if state in "ZX" and threads <= 1 else start


def is_process_alive(pid: int, start_time: int | None) -> bool:
    """Whether the process of this host with this start time is alive; True if in doubt."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it belongs to another user; /proc may be hidden
    return start_time is None or process_start_time(pid) in (start_time, None)
