"""Files damaged at random: whoever reads them must answer with a value or with one line.

A Reader is a few valid files and a function that reads them.  One of the files is cut, overwritten,
mixed up or replaced; in JSON also a single value.  Whatever was done, reading ends in the error of
the reader, or in a value that passes `check`: never in another exception, and never in a wait.
"""

import json
import re
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from utils.errors import UserError

SECONDS = 600  # reading takes milliseconds; a loaded machine may need a thousand times as long
MORE_MEMORY = 8 << 30  # address space, in bytes, beyond what the process has
NESTED = 100_000

# What a file may hold by mistake where something else is expected.
ODD_BYTES = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b" ", b"\r", b"\n", b",", b";", b'"', b"'", b"\\"),
    *(b"#", b"[", b"{", b"<", b"&", b":", b"-", b"=1", b"/", b"../", b"\xc3", "é".encode(), b"%s"),
    *(b"-1", b"0", b"1", b"7", b"1.5", b"1e999", b"nan", b"9" * 30, b"null", b"true", b"x"),
    *(b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\0", b"9" * 5000),
)
ODD_VALUES = (
    *(None, True, -1, 0, 1, 10**30, 0.5, float("nan"), float("inf"), "", "x", "\0", "\ud800", "1"),
    *([], {}, [[]], [None], {"x": []}, ["x", "x"], {"": ""}),
)


@dataclass(frozen=True)
class Reader:
    """files: valid contents by path below a folder, of which one is damaged.
    read: reads them in that folder.
    check: raises AssertionError unless a value is one that the reader may return.
    errors: those of the reader.
    others: further files, which stay as they are."""

    files: Mapping[str, bytes]
    read: Callable[[Path], Any]
    check: Callable[[Any], object] = lambda value: None
    errors: tuple[type[Exception], ...] = (UserError,)
    others: Mapping[str, bytes] | None = None


def files_below(folder: Path) -> dict[str, bytes]:
    """The contents of all files below a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_damaged(reader: Reader, data: st.DataObject) -> None:
    """Damage one file of a reader, as hypothesis' `data` draws it, and read it."""
    name = data.draw(st.sampled_from(sorted(reader.files)))
    content = data.draw(damaged(reader.files[name]))
    with tempfile.TemporaryDirectory() as folder:
        files = {**(reader.others or {}), **reader.files, name: content}
        for path, text in files.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_bytes(text)
        with limits():
            try:
                value = reader.read(Path(folder))
            except reader.errors as error:
                assert str(error).strip()
                return
        reader.check(value)


@contextmanager
def limits() -> Iterator[None]:
    """Neither wait for ever nor ask for more memory than a machine has."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still reading after {SECONDS} s")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after one to three changes."""
    for _ in range(draw(st.integers(1, 3))):
        content = draw(st.sampled_from(_CHANGES))(draw, content)
    return content


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: draw(_positions(content))]


def _remove(draw: st.DrawFn, content: bytes) -> bytes:
    start, end = sorted((draw(_positions(content)), draw(_positions(content))))
    return content[:start] + content[end:]


def _repeat(draw: st.DrawFn, content: bytes) -> bytes:
    """A part of the content once more, at another place."""
    start, end = sorted((draw(_positions(content)), draw(_positions(content))))
    place = draw(_positions(content))
    return content[:place] + content[start:end] + content[place:]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    place = draw(_positions(content))
    return content[:place] + draw(st.sampled_from(ODD_BYTES)) + content[place:]


def _overwrite(draw: st.DrawFn, content: bytes) -> bytes:
    place, part = draw(_positions(content)), draw(st.sampled_from(ODD_BYTES))
    return content[:place] + part + content[place + len(part) :]


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    if not content:
        return content
    place, bit = draw(st.integers(0, len(content) - 1)), draw(st.integers(0, 7))
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


def _replace_word(draw: st.DrawFn, content: bytes) -> bytes:
    """A number or a word becomes another one of the content, or something odd."""
    words = list(re.finditer(rb"[\w.+-]+", content[:100_000]))
    if not words:
        return content
    chosen, other = draw(st.sampled_from(words)), draw(st.sampled_from(words))
    text = draw(st.sampled_from((*ODD_BYTES, other[0])))
    return content[: chosen.start()] + text + content[chosen.end() :]


def _change_json(draw: st.DrawFn, content: bytes) -> bytes:
    """A value becomes an odd one, or is left out."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _replace_word(draw, content)
    places = list(_walk_json(value))
    if not places:
        return content
    container, key = draw(st.sampled_from(places))
    if draw(st.integers(0, 3)):
        container[key] = draw(st.sampled_from(ODD_VALUES))
    else:
        del container[key]
    return json.dumps(value).encode()


def _walk_json(value: Any) -> Iterator[tuple[Any, Any]]:
    """All places of a value: the list or dict, and the position or key."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield value, key
        yield from _walk_json(value[key])


def _anything(draw: st.DrawFn, content: bytes) -> bytes:
    return draw(st.binary(max_size=200))


def _nest(draw: st.DrawFn, content: bytes) -> bytes:
    """Deeper than any recursion, as JSON, YAML or XML."""
    return draw(st.sampled_from((b"[", b'{"a":', b"<a>"))) * NESTED


def _positions(content: bytes) -> st.SearchStrategy[int]:
    """A place in the content; often near its beginning, where formats keep their sizes."""
    return st.integers(0, min(len(content), 200)) | st.integers(0, len(content))


_CHANGES = (
    *(_cut, _remove, _repeat, _insert, _overwrite, _flip, _replace_word, _change_json),
    *(_replace_word, _change_json, _flip, _anything, _nest),
)
