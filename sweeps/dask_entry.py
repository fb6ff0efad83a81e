"""main_al.py for a worker on any machine: it stops when its standard input is closed.

python sweeps/dask_entry.py WORDS OF main_al.py
"""

import os
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run as a path: not this folder's

from sweeps.parent_watch import exit_with_parent
from utils import signals


def main() -> int:
    signals.exit_on_signal("main_al.py")
    exit_with_parent(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    import main_al  # seconds, in which the lifeline is watched already

    sys.argv[0] = main_al.__file__
    return main_al.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
