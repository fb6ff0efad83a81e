"""Divides the cores of this machine among the runs that are executed at once.

Nothing slow is imported here: OpenMP reads the number of threads once, when torch is imported.
"""

import os

THREAD_COUNT_VARIABLE = "OMP_NUM_THREADS"


def count_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(jobs: int) -> None:
    """Limit this process and its children to cores / jobs threads, unless OMP_NUM_THREADS is set.

    To be called before torch is imported."""
    os.environ.setdefault(THREAD_COUNT_VARIABLE, str(max(1, count_cores() // jobs)))
