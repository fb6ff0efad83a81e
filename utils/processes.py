"""Which process, of which host: names that are not given twice."""

import os
import socket
from contextlib import suppress
from pathlib import Path


def host_info() -> dict:
    """The host as processes see it: its name, its boot, and the namespace that process ids are of
    (each container has its own).  Boot "" where the system (Linux alone) does not tell."""
    boot, pids = "", 0
    with suppress(OSError):
        pids = os.stat("/proc/self/ns/pid").st_ino
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"host": socket.gethostname(), "boot": boot, "pids": pids}


def process_start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: a process id is given again, both are not.
    None where that cannot be read; 0 for one that has ended and not been waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # what is before may hold blanks
    state, threads, start = fields[0], int(fields[17]), int(fields[19])  # 3, 20, 22 in proc(5)
    # The first thread of a killed process may have ended before one that is still writing.
    return 0 if state in "ZX" and threads <= 1 else start


def is_process_alive(pid: int, start_time: int | None) -> bool:
    """Whether the process of this host that started then lives; True where that is not known."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's; /proc may hide it
    return start_time is None or process_start_time(pid) in (start_time, None)
