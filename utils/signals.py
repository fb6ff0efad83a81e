"""Signals that ask a run to stop: SIGINT, SIGTERM and SIGHUP end it with 128 + their number.

Imports only the standard library, so that a command can install these handlers before its slow
imports.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_deferral_depth = 0  # number of open defer_signals blocks
_pending_signal: int | None = None  # the signal that arrived within one


class StoppedBySignal(BaseException):
    """A signal asked the process to stop.  Not an Exception, so that no code that handles errors
    catches it."""

    def __init__(self, number: int):
        # SIGHUP means the same as SIGTERM: stop, and leave everything in order.
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        super().__init__(
            f"stopped by {signal.Signals(number).name}; repeat the same command to resume"
        )


def exit_on_signal(program: str) -> None:
    """Until `raise_on_signal` takes over, a signal ends the process with one line on standard
    error: nothing that needs closing is open yet."""

    def leave(number: int, frame: FrameType | None) -> None:
        stopped = StoppedBySignal(number)
        os.write(2, f"{program}: {stopped}\n".encode())
        os._exit(stopped.exit_code)

    _install_handlers(leave)


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Within this block a signal raises StoppedBySignal, as soon as no `defer_signals` is open."""
    previous = _install_handlers(_handle_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """A signal that arrives within this block takes effect at its end, so that files are written
    completely."""
    global _deferral_depth, _pending_signal
    _deferral_depth += 1
    try:
        yield
    finally:
        _deferral_depth -= 1
    if not _deferral_depth and _pending_signal is not None:
        number, _pending_signal = _pending_signal, None
        raise StoppedBySignal(number)


def _handle_signal(number: int, frame: FrameType | None) -> None:
    global _pending_signal
    if _deferral_depth:
        _pending_signal = number
    else:
        raise StoppedBySignal(number)


def _install_handlers(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Returns the previous handlers.  Signals that are ignored, as under nohup, stay ignored."""
    active = [n for n in STOP_SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in active}
