"""The cores of this machine, shared out among the runs that work at once.

Nothing slow is imported here: OpenMP reads the number of threads when torch is imported, once.
"""

import os

THREAD_COUNT_VARIABLE = "OMP_NUM_THREADS"


def count_cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(jobs: int) -> None:
    """Let this process, and what it starts, have cores / jobs threads, unless who started it said
    how many.  To be called before torch is imported."""
    os.environ.setdefault(THREAD_COUNT_VARIABLE, str(max(1, count_cores() // jobs)))
