"""A process that stops, as by SIGTERM, when the process that started it is no more.

The starter holds the writing end of a pipe and writes nothing: the system closes it whatever way
the starter ends, a kill -9 included, and the reader sees the end.
"""

import os
import signal
import threading


def exit_with_parent(reading: int) -> None:
    """Tie this process to the holder of the pipe whose reading end is given."""
    threading.Thread(target=_wait_for_parent_exit, args=(reading,), daemon=True).start()


def _wait_for_parent_exit(reading: int) -> None:
    while os.read(reading, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
