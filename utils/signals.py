"""Signals that ask a run to stop: SIGINT, SIGTERM and SIGHUP end it with 128 + their number.

Only the standard library is imported here, so that it can come before what takes seconds.
"""

import os
import signal
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_writes = 0  # how many uninterrupted blocks are open
_waiting = None  # the signal that came within one


class Stopped(BaseException):
    """A signal that asked to stop.  No Exception: nothing that mends errors may keep it."""

    def __init__(self, number: int):
        # SIGHUP says the same as SIGTERM: go, and leave all in order.
        self.status = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on")


def leave_at_once(program: str) -> None:
    """Until `stoppable` begins, a signal ends the process with one line: nothing is open yet."""

    def leave(number, frame):
        stopped = Stopped(number)
        os.write(2, f"{program}: {stopped}\n".encode())
        os._exit(stopped.status)

    _install(leave)


@contextmanager
def stoppable():
    """A signal raises Stopped within, as soon as no uninterrupted block is open."""
    before = _install(_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted():
    """A signal that comes within waits for the end, so that what is written is written whole."""
    global _writes, _waiting
    _writes += 1
    try:
        yield
    finally:
        _writes -= 1
    if not _writes and _waiting is not None:
        number, _waiting = _waiting, None
        raise Stopped(number)


def _stop(number, frame) -> None:
    global _waiting
    if _writes:
        _waiting = number
    else:
        raise Stopped(number)


def _install(handler) -> dict:
    """-> the handlers before.  Signals that are ignored (nohup, jobs in the background) stay so."""
    heard = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in heard}
