"""Lets a process stop, as by SIGTERM, when the process that started it ends.

The parent holds the writing end of a pipe and never writes to it.  However the parent ends, even by
kill -9, the system closes the pipe, and the child reads the end of file.
"""

import os
import signal
import threading


def exit_with_parent(read_end: int) -> None:
    """Stop this process when the pipe with this reading end (a file descriptor) is closed."""
    threading.Thread(target=_wait_for_parent_exit, args=(read_end,), daemon=True).start()


def _wait_for_parent_exit(read_end: int) -> None:
    while os.read(read_end, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
