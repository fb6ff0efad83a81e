"""MATLAB files up to version 7.2, which are looked at before scipy reads them.

scipy.io.loadmat (1.17) takes the type of an element for a position in a table without looking
whether the table is that long: a single wrong byte can end the process with a segmentation fault.
So the tags of all elements are looked at first; values are not.

Format: "MAT-File Format", The MathWorks, chapter 1, Level 5.  A file is a header of 128 bytes and
elements: a tag (type and number of bytes, both uint32), the bytes, and padding to a multiple of 8.
An element of at most 4 bytes has them in its tag.  A matrix is an element that consists of
elements; a compressed element contains a matrix.
"""

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

LEVEL_5 = 1  # what scipy calls the major version of these files
HEADER_BYTES, TAG_BYTES = 128, 8
NUMBER_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # by type
TEXT_BYTES = {16: 1, 17: 2, 18: 4}  # UTF-8, UTF-16, UTF-32
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
CELL, STRUCT, OBJECT, TEXT, SPARSE, NUMBERS, FUNCTION = 1, 2, 3, 4, 5, range(6, 16), 16  # classes
IS_COMPLEX = 0x800  # a flag of a matrix
MAX_DIMENSIONS, MAX_DEPTH, MAX_NAME_BYTES = 32, 50, 1 << 20


class _Tag(NamedTuple):
    """kind: the type; size: of the content in bytes; inline: the content of a small element;
    end: where the content ends in the stream."""

    kind: int
    size: int
    inline: bytes | None
    end: int


class _Stream:
    """The bytes of a file, or of a compressed element, from a position on."""

    def __init__(self, read: Callable[[int], bytes], order: str):
        """order: of the bytes of a number, as struct has it."""
        self._read, self.order, self.position = read, order, 0

    def read(self, count: int) -> bytes:
        """Raises ValueError if there are fewer bytes."""
        content = self._read(count)
        if len(content) < count:
            raise ValueError("it ends within an array")
        self.position += count
        return content

    def read_tag(self, end: int) -> _Tag:
        """The next tag, of an element that must end at `end` at the latest."""
        words = self.read(TAG_BYTES)
        kind, size = struct.unpack(f"{self.order}II", words)
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            tag = _Tag(kind, size, words[4 : 4 + size], self.position)
            is_possible = size <= 4
        else:
            tag = _Tag(kind, size, None, self.position + size)
            is_possible = True
        if not is_possible or tag.end > end:
            raise ValueError("the size of an array in it is wrong")
        return tag

    def read_content(self, tag: _Tag, end: int, max_bytes: int) -> bytes:
        """The content of an element of a matrix that ends at `end`, and its padding."""
        if tag.inline is not None:
            return tag.inline
        if tag.size > max_bytes:
            raise ValueError("the size of an array in it is wrong")
        content = self.read(tag.size)
        self.skip_padding(end)
        return content

    def skip_content(self, tag: _Tag, end: int) -> None:
        if tag.inline is None:
            while self.position < tag.end:
                self.read(min(tag.end - self.position, 1 << 20))
            self.skip_padding(end)

    def skip_padding(self, end: int) -> None:
        self.read(min(-self.position % 8, end - self.position))


def load_mat(path: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What scipy reads from a file of MATLAB up to version 7.2.

    names: of the variables to read, None for all.
    Raises ValueError and what scipy raises if the file is damaged, OSError if it cannot be read."""
    import scipy.io  # imported only where it is needed, because it is slow

    if scipy.io.matlab.matfile_version(path)[0] == LEVEL_5:
        check_mat_file(path)
    return scipy.io.loadmat(path, variable_names=names)


def check_mat_file(path: Path) -> None:
    """Raises ValueError if an element of the file is of an impossible type or size, OSError if the
    file cannot be read."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        stream = _Stream(file.read, "<" if header[126:128] == b"IM" else ">")
        size = path.stat().st_size - HEADER_BYTES
        while stream.position < size:
            tag = stream.read_tag(size)
            if tag.kind == COMPRESSED:
                _check_compressed(file, tag.size, stream)
            else:
                _check_matrix(stream, tag, 0)


def _check_compressed(file: IO[bytes], size: int, outer: _Stream) -> None:
    """A compressed element, of which `size` bytes follow in the file."""
    decompressor = zlib.decompressobj()
    remaining, ready = size, b""

    def read(count: int) -> bytes:
        nonlocal remaining, ready
        while len(ready) < count and (remaining or decompressor.unconsumed_tail):
            packed = decompressor.unconsumed_tail
            if not packed:
                packed = file.read(min(remaining, 1 << 16))
                remaining -= len(packed)
                if not packed:
                    break
            ready += decompressor.decompress(packed, 1 << 20)
        content, ready = ready[:count], ready[count:]
        return content

    inner = _Stream(read, outer.order)
    try:
        _check_matrix(inner, inner.read_tag(1 << 62), 0)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed ({error})") from None
    file.seek(remaining, 1)
    outer.position += size


def _check_matrix(stream: _Stream, tag: _Tag, depth: int) -> None:
    """A matrix whose tag has just been read."""
    if tag.kind != MATRIX or tag.inline is not None or depth > MAX_DEPTH:
        raise ValueError("an array of it is of an unknown type")
    if not tag.size:  # an empty matrix
        return
    end = tag.end
    flags = _read_words(stream, end, (UINT32,), 2)[0]
    matrix_class = flags & 0xFF
    if matrix_class not in (CELL, STRUCT, OBJECT, TEXT, SPARSE, FUNCTION, *NUMBERS):
        _skip_unknown(stream, end)  # objects of MATLAB, which scipy leaves as they are
        return
    shape = _read_words(stream, end, (INT32, UINT32), MAX_DIMENSIONS)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("the shape of an array in it is impossible")
    count = math.prod(shape)
    _read_name(stream, end)
    if matrix_class == OBJECT:
        _read_name(stream, end)
    if matrix_class in (STRUCT, OBJECT):
        length = _read_words(stream, end, (INT32,), 1)[0]
        names = stream.read_tag(end)
        stream.skip_content(names, end)
        if names.kind != INT8 or length < 1 or names.size % length:
            raise ValueError("the fields of a structure in it are damaged")
        count *= names.size // length
    if matrix_class in (CELL, STRUCT, OBJECT, FUNCTION):
        for _ in range(1 if matrix_class == FUNCTION else count):
            _check_matrix(stream, stream.read_tag(end), depth + 1)
    else:
        _check_values(stream, end, matrix_class, count, bool(flags & IS_COMPLEX))
    if stream.position != end:
        raise ValueError("an array of it has another size than it says")


def _check_values(
    stream: _Stream, end: int, matrix_class: int, count: int, is_complex: bool
) -> None:
    """The values of a matrix of `count` numbers or characters."""
    if matrix_class == SPARSE:
        for _ in range(2):
            rows = stream.read_tag(end)
            stream.skip_content(rows, end)
            if rows.kind not in NUMBER_BYTES:
                raise ValueError("an array of it is of an unknown type")
    for _ in range(1 + is_complex):
        values = stream.read_tag(end)
        stream.skip_content(values, end)
        allowed = {**NUMBER_BYTES, **TEXT_BYTES} if matrix_class == TEXT else NUMBER_BYTES
        if values.kind not in allowed:
            raise ValueError("an array of it is of an unknown type")
        if matrix_class in NUMBERS and values.size != count * allowed[values.kind]:
            raise ValueError("an array of it has another size than its shape says")


def _read_words(
    stream: _Stream, end: int, kinds: tuple[int, ...], max_count: int
) -> tuple[int, ...]:
    """An element of at most so many integers of 4 bytes, of one of the types."""
    tag = stream.read_tag(end)
    if tag.kind not in kinds or tag.size % 4 or not tag.size:
        raise ValueError("the description of an array in it is damaged")
    content = stream.read_content(tag, end, 4 * max_count)
    letter = "I" if tag.kind == UINT32 else "i"
    return struct.unpack(f"{stream.order}{tag.size // 4}{letter}", content)


def _read_name(stream: _Stream, end: int) -> None:
    tag = stream.read_tag(end)
    if tag.kind not in {INT8, 2, *TEXT_BYTES}:
        raise ValueError("the name of an array in it is damaged")
    stream.read_content(tag, end, MAX_NAME_BYTES)


def _skip_unknown(stream: _Stream, end: int) -> None:
    while stream.position < end:
        stream.read(min(end - stream.position, 1 << 20))
