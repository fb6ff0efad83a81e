"""A published file from where it is to be had: whole and right, or one line that says why not.

A source is an address (http, https) or a file.  All are asked in their order; one that gives
something is asked on for the rest, one that gives nothing comes again after the others, after
pauses that grow.  What cannot become right (a 404, another size, other bytes) is not asked again.

What has arrived stays in one file, whoever sent it, and the rest is asked for (RFC 9110, section
14).  No ETag is kept: size and md5 are known beforehand and say at the end whether all pieces were
of one file.  Where they were not, each source is asked for all of it and nothing is mixed any more.
"""

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import NamedTuple

from data.download.checksums import md5_of
from data.spec import Archive
from utils.console import Arrival, one_line, say
from utils.errors import Refused
from utils.files import told

AGENT = "deep-active-learning"  # Python's own is refused by some hosts
PIECE = 1 << 16  # bytes
BUSY = (408, 425, 429)  # with 500 and above: answers that may be others later


class Limits(NamedTuple):
    """When a source is given up, and how often all are asked."""

    silence: float = 20.0  # seconds without a byte, the time to connect among them
    stall: float = 60.0  # seconds in which there were fewer than `least` bytes
    least: int = 1 << 16  # bytes; who gave fewer has given nothing
    rounds: int = 5  # how often each source may give nothing
    pause: float = 1.0  # seconds after the first round; after each further one twice as long


LIMITS = Limits()


class _Later(Exception):
    """The source may have it another time."""


class _Never(Exception):
    """The source does not have it."""


class _Anew(Exception):
    """The source is to be asked again at once, from the file's beginning."""


class _NoRest(_Anew):
    """It does not give the rest of a file, or of another one."""


def is_address(source: str) -> bool:
    """Or the path of a file."""
    return bool(re.match(r"https?://", source, re.IGNORECASE))


def fetch(archive: Archive, part: Path, sources: Sequence[str], limits: Limits = LIMITS) -> None:
    """Make `part` the archive, whole and right; what an earlier call left there is gone on with.

    No other process may write it.  Raises Refused where no source has it, and what came stays, or
    where it cannot be written."""
    _Fetching(archive, part, sources, limits).run()


class _Fetching:
    def __init__(self, archive: Archive, part: Path, sources: Sequence[str], limits: Limits):
        self.archive, self.part, self.limits = archive, part, limits
        self.name = Path(archive.path).name
        self.sources = list(dict.fromkeys(sources))
        self.why = {}  # source -> what it gave last, if not the file
        self.no_rest = set()  # sources that do not give the rest of a file
        self.doubted = set()  # those that gave the last piece of a file of pieces that was wrong
        self.writer, self.at_once = None, False  # of the last piece; was it the whole file?

    def run(self) -> None:
        if self.here() >= self.archive.size:
            with told(self.part):
                if self.right():
                    return
                self.part.unlink()
        for number in range(self.limits.rounds):
            if number:
                time.sleep(self.limits.pause * 2 ** (number - 1))
            if any(self.taken(source) for source in self.sources[:]):
                return
            if not self.sources:
                break
        every = "; ".join(f"{source}: {why}" for source, why in self.why.items())
        kept = f" (the {self.here()} bytes that came are kept)" if self.here() else ""
        raise Refused(f"{self.name} is not to be had: {one_line(every)}{kept}")

    def taken(self, source: str) -> bool:
        """Is the file there, after all that this source gives now?"""
        while source in self.sources:
            before = self.here()
            try:
                self.transfer(source)
                self.check(source)
                return True
            except _NoRest:
                self.no_rest.add(source)
            except _Anew:
                continue
            except _Never as never:
                self.sources.remove(source)
                self.failed(source, never)
            except _Later as later:
                self.failed(source, later)
                if self.here() - before < self.limits.least:
                    return False
                time.sleep(self.limits.pause)
        return False

    def failed(self, source: str, why: Exception) -> None:
        self.why[source] = str(why)
        say(one_line(f"{self.name}: {source}: {why}"))

    def transfer(self, source: str) -> None:
        """Add to the part what this source has beyond it."""
        with told(self.part):
            if self.doubted and self.writer != source:
                self.part.unlink(missing_ok=True)
            self.part.touch()
        begun = 0 if source in self.no_rest else self.here()
        asked = _ask(source, begun, self.archive.size, self.limits.silence)
        with asked as (stream, start), told(self.part), open(self.part, "r+b") as file:
            # From the beginning it is written over what is there, which is as good as gone on with
            # and does not lose it where this one ends earlier.
            file.seek(start)
            self.writer, self.at_once = source, start == 0
            self.copy(stream, file)
            os.fsync(file.fileno())

    def copy(self, stream, file) -> None:
        done, size, limits = file.tell(), self.archive.size, self.limits
        since, counted = time.monotonic(), 0
        with Arrival(self.name, done, size) as shown:
            while done < size:
                piece = _read(stream, min(PIECE, size - done))
                if not piece:
                    raise _Later(f"ended after {done} of {size} bytes")
                file.write(piece)
                file.flush()  # for who goes on after a kill
                done, counted = done + len(piece), counted + len(piece)
                shown.more(len(piece))
                if time.monotonic() - since > limits.stall:
                    if counted < limits.least:
                        raise _Later(f"{counted} bytes in {limits.stall:g} s")
                    since, counted = time.monotonic(), 0

    def check(self, source: str) -> None:
        with told(self.part):
            if self.right():
                return
            self.part.unlink()
        if self.at_once or source in self.doubted:
            raise _Never("other bytes than those that were published, by their md5")
        self.doubted.add(source)
        raise _Anew

    def here(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def right(self) -> bool:
        return self.here() == self.archive.size and md5_of(self.part) == self.archive.md5


def _ask(source: str, begun: int, size: int, silence: float):
    """A context -> a stream, and the place in the file where it begins: `begun` or 0."""
    if not is_address(source):
        return _opened(Path(source), begun, size)
    headers = {"User-Agent": AGENT} | ({"Range": f"bytes={begun}-"} if begun else {})
    with _network():
        try:
            request = urllib.request.Request(source, headers=headers)
            answer = urllib.request.build_opener(_Redirects).open(request, timeout=silence)
        except urllib.error.HTTPError as error:
            error.close()
            if begun and error.code == 416:
                raise _NoRest from None
            kind = _Later if error.code in BUSY or error.code >= 500 else _Never
            raise kind(f"{error.code} {error.reason}") from None
    return _answered(answer, begun, size)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The library would follow them to other protocols."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not is_address(newurl):
            raise _Never(f"leads to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _answered(answer, begun: int, size: int):
    with answer:
        start, whole = 0, answer.length  # None where it does not say
        if answer.status == 206:
            said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers["Content-Range"] or "")
            start, whole = (int(said[1]), said[2]) if said else (None, None)
            if start != begun or whole not in (str(size), "*"):
                raise _NoRest if begun else _Never("answers another range than was asked for")
        elif answer.status != 200:
            raise _Never(f"{answer.status} {answer.reason}")
        elif whole not in (None, size):
            raise _Never(f"{whole} bytes, where {size} were published")
        yield answer, start


@contextmanager
def _opened(path: Path, begun: int, size: int):
    """A file of this machine."""
    try:
        with open(path, "rb") as file:
            if (found := os.fstat(file.fileno()).st_size) != size:
                raise _Never(f"{found} bytes, where {size} were published")
            file.seek(begun)
            yield file, begun
    except OSError as error:
        raise _Never(error.strerror or str(error)) from None


def _read(stream, most: int) -> bytes:
    with _network():
        return stream.read1(most)


@contextmanager
def _network():
    """What goes wrong on the way, as what it means."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        never = isinstance(why, SSLCertVerificationError) or isinstance(error, ValueError)
        raise (_Never if never else _Later)(str(why) or type(why).__name__) from None
