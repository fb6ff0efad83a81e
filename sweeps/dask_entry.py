"""main_al.py as a Dask worker starts it: it stops when its standard input is closed.

python sweeps/dask_entry.py ARGUMENTS OF main_al.py
"""

import os
import sys
from pathlib import Path

if not __package__:  # executed by its path: import from the root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from sweeps.parent_watch import exit_with_parent
from utils import signals

WORKER_FAULT_STATUS = 76  # no run can be executed here; the last line of the output says why


def main() -> int:
    signals.exit_on_signal("main_al.py")
    exit_with_parent(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        import main_al  # takes seconds, in which the parent is already being watched
    except ImportError as error:
        print(f"it cannot import main_al.py ({error})")
        return WORKER_FAULT_STATUS

    sys.argv[0] = main_al.__file__
    return main_al.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
