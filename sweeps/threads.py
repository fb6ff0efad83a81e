"""The cores of this machine, shared out among the runs that work at once.

Nothing slow is imported here: OpenMP reads the number of threads when torch is imported, once.
"""

import os

THREADS = "OMP_NUM_THREADS"


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_out(jobs: int) -> None:
    """Let this process, and what it starts, have cores / jobs threads, unless who started it said
    how many.  To be called before torch is imported."""
    os.environ.setdefault(THREADS, str(max(1, cores() // jobs)))
