"""Running out of memory: one line that says what to lower, instead of a traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from utils.errors import SystemRefusal, UserError

# Of the errors of torch (CPU, CUDA, oneDNN), faiss, threads and the dynamic linker, which have no
# type of their own.
_PHRASES = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
    "can't start new thread",
    "failed to map segment",
)


@contextmanager
def memory_errors_refused(cure: str) -> Iterator[None]:
    """An error within the block because the memory is full becomes a SystemRefusal.

    cure: what to do about it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_out_of_memory(error):
            raise
        raise SystemRefusal(f"out of memory: {cure}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library raised the error because it got no memory, or while it handled such an
    error: torch.save then complains of the file."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    has_phrase = any(phrase in str(error).lower() for phrase in _PHRASES)
    if has_phrase and isinstance(error, (RuntimeError, ImportError, OSError)):
        return True
    return error.__context__ is not None and is_out_of_memory(error.__context__)
