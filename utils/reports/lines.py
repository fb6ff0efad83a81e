"""What a report says: lines that any terminal, pipe and file can take."""

import os


def line(text: str) -> str:
    """In one line, without what would move a cursor or has no encoding."""
    kept = " ".join(text.split())
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept
    )


def say(text: str, stream) -> None:
    """Write to a standard stream, None for a closed one, whatever its encoding.

    Raises OSError where the stream takes no more; later writes to it are then lost in silence."""
    if stream is None:
        return
    coding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(coding, "backslashreplace").decode(coding))
        stream.flush()
    except OSError:
        # What is still in the buffer would fail once more, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise
