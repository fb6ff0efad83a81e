"""Signals that ask a run to stop: SIGINT, SIGTERM and SIGHUP end it with 128 + their number.

Only the standard library is imported here, so that it can come before what takes seconds.
"""

import os
import signal
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_deferral_depth = 0  # how many uninterrupted blocks are open
_pending_signal = None  # the signal that came within one


class StoppedBySignal(BaseException):
    """A signal that asked to stop.  No Exception: nothing that mends errors may keep it."""

    def __init__(self, number: int):
        # SIGHUP says the same as SIGTERM: go, and leave all in order.
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on")


def exit_on_signal(program: str) -> None:
    """Until `stoppable` begins, a signal ends the process with one line: nothing is open yet."""

    def leave(number, frame):
        stopped = StoppedBySignal(number)
        os.write(2, f"{program}: {stopped}\n".encode())
        os._exit(stopped.status)

    _install_handlers(leave)


@contextmanager
def raise_on_signal():
    """A signal raises Stopped within, as soon as no uninterrupted block is open."""
    before = _install_handlers(_handle_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals():
    """A signal that comes within waits for the end, so that what is written is written whole."""
    global _deferral_depth, _pending_signal
    _deferral_depth += 1
    try:
        yield
    finally:
        _deferral_depth -= 1
    if not _deferral_depth and _pending_signal is not None:
        number, _pending_signal = _pending_signal, None
        raise StoppedBySignal(number)


def _handle_signal(number, frame) -> None:
    global _pending_signal
    if _deferral_depth:
        _pending_signal = number
    else:
        raise StoppedBySignal(number)


def _install_handlers(handler) -> dict:
    """-> the handlers before.  Signals that are ignored (nohup, jobs in the background) stay so."""
    heard = [n for n in STOP_SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in heard}
