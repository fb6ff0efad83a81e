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

from data.download.checksums import file_md5
from data.spec import Archive
from utils.console import DownloadProgressBar, print_line, to_one_line
from utils.errors import SystemRefusal
from utils.files import os_errors_refused

USER_AGENT = "deep-active-learning"  # Python's own is refused by some hosts
CHUNK_BYTES = 1 << 16  # bytes
RETRY_STATUS_CODES = (408, 425, 429)  # with 500 and above: answers that may be others later


class DownloadLimits(NamedTuple):
    """When a source is given up, and how often all are asked."""

    timeout_seconds: float = 20.0  # seconds without a byte, the time to connect among them
    stall_seconds: float = 60.0  # seconds in which there were fewer than `least` bytes
    min_bytes: int = 1 << 16  # bytes; who gave fewer has given nothing
    max_rounds: int = 5  # how often each source may give nothing
    pause_seconds: float = (
        1.0  # seconds after the first round; after each further one twice as long
    )


DEFAULT_LIMITS = DownloadLimits()


class _TemporaryFailure(Exception):
    """The source may have it another time."""


class _PermanentFailure(Exception):
    """The source does not have it."""


class _RestartDownload(Exception):
    """The source is to be asked again at once, from the file's beginning."""


class _RangeUnsupported(_RestartDownload):
    """It does not give the rest of a file, or of another one."""


def is_url(source: str) -> bool:
    """Or the path of a file."""
    return bool(re.match(r"https?://", source, re.IGNORECASE))


def download_archive(
    archive: Archive, part: Path, sources: Sequence[str], limits: DownloadLimits = DEFAULT_LIMITS
) -> None:
    """Make `part` the archive, whole and right; what an earlier call left there is gone on with.

    No other process may write it.  Raises Refused where no source has it, and what came stays, or
    where it cannot be written."""
    _Download(archive, part, sources, limits).run()


class _Download:
    def __init__(
        self, archive: Archive, part: Path, sources: Sequence[str], limits: DownloadLimits
    ):
        self.archive, self.part_path, self.limits = archive, part, limits
        self.name = Path(archive.path).name
        self.sources = list(dict.fromkeys(sources))
        self.last_errors = {}  # source -> what it gave last, if not the file
        self.sources_without_ranges = set()  # sources that do not give the rest of a file
        self.suspect_sources = (
            set()
        )  # those that gave the last piece of a file of pieces that was wrong
        self.last_source, self.is_whole_file = (
            None,
            False,
        )  # of the last piece; was it the whole file?

    def run(self) -> None:
        if self.bytes_on_disk() >= self.archive.size:
            with os_errors_refused(self.part_path):
                if self.is_complete():
                    return
                self.part_path.unlink()
        for number in range(self.limits.max_rounds):
            if number:
                time.sleep(self.limits.pause_seconds * 2 ** (number - 1))
            if any(self.try_source(source) for source in self.sources[:]):
                return
            if not self.sources:
                break
        every = "; ".join(f"{source}: {why}" for source, why in self.last_errors.items())
        kept = (
            f" (the {self.bytes_on_disk()} bytes that came are kept)"
            if self.bytes_on_disk()
            else ""
        )
        raise SystemRefusal(f"{self.name} is not to be had: {to_one_line(every)}{kept}")

    def try_source(self, source: str) -> bool:
        """Is the file there, after all that this source gives now?"""
        while source in self.sources:
            before = self.bytes_on_disk()
            try:
                self.download_from(source)
                self.verify_download(source)
                return True
            except _RangeUnsupported:
                self.sources_without_ranges.add(source)
            except _RestartDownload:
                continue
            except _PermanentFailure as never:
                self.sources.remove(source)
                self.log_failure(source, never)
            except _TemporaryFailure as later:
                self.log_failure(source, later)
                if self.bytes_on_disk() - before < self.limits.min_bytes:
                    return False
                time.sleep(self.limits.pause_seconds)
        return False

    def log_failure(self, source: str, why: Exception) -> None:
        self.last_errors[source] = str(why)
        print_line(to_one_line(f"{self.name}: {source}: {why}"))

    def download_from(self, source: str) -> None:
        """Add to the part what this source has beyond it."""
        with os_errors_refused(self.part_path):
            if self.suspect_sources and self.last_source != source:
                self.part_path.unlink(missing_ok=True)
            self.part_path.touch()
        begun = 0 if source in self.sources_without_ranges else self.bytes_on_disk()
        asked = _open_source(source, begun, self.archive.size, self.limits.timeout_seconds)
        with (
            asked as (stream, start),
            os_errors_refused(self.part_path),
            open(self.part_path, "r+b") as file,
        ):
            # From the beginning it is written over what is there, which is as good as gone on with
            # and does not lose it where this one ends earlier.
            file.seek(start)
            self.last_source, self.is_whole_file = source, start == 0
            self.copy_stream(stream, file)
            os.fsync(file.fileno())

    def copy_stream(self, stream, file) -> None:
        done, size, limits = file.tell(), self.archive.size, self.limits
        since, counted = time.monotonic(), 0
        with DownloadProgressBar(self.name, done, size) as shown:
            while done < size:
                piece = _read_chunk(stream, min(CHUNK_BYTES, size - done))
                if not piece:
                    raise _TemporaryFailure(f"ended after {done} of {size} bytes")
                file.write(piece)
                file.flush()  # for who goes on after a kill
                done, counted = done + len(piece), counted + len(piece)
                shown.update(len(piece))
                if time.monotonic() - since > limits.stall_seconds:
                    if counted < limits.min_bytes:
                        raise _TemporaryFailure(f"{counted} bytes in {limits.stall_seconds:g} s")
                    since, counted = time.monotonic(), 0

    def verify_download(self, source: str) -> None:
        with os_errors_refused(self.part_path):
            if self.is_complete():
                return
            self.part_path.unlink()
        if self.is_whole_file or source in self.suspect_sources:
            raise _PermanentFailure("other bytes than those that were published, by their md5")
        self.suspect_sources.add(source)
        raise _RestartDownload

    def bytes_on_disk(self) -> int:
        """Bytes that have arrived."""
        return self.part_path.stat().st_size if self.part_path.exists() else 0

    def is_complete(self) -> bool:
        return (
            self.bytes_on_disk() == self.archive.size
            and file_md5(self.part_path) == self.archive.md5
        )


def _open_source(source: str, begun: int, size: int, silence: float):
    """A context -> a stream, and the place in the file where it begins: `begun` or 0."""
    if not is_url(source):
        return _open_local_file(Path(source), begun, size)
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={begun}-"} if begun else {})
    with _classify_network_errors():
        try:
            request = urllib.request.Request(source, headers=headers)
            answer = urllib.request.build_opener(_HttpOnlyRedirects).open(request, timeout=silence)
        except urllib.error.HTTPError as error:
            error.close()
            if begun and error.code == 416:
                raise _RangeUnsupported from None
            kind = (
                _TemporaryFailure
                if error.code in RETRY_STATUS_CODES or error.code >= 500
                else _PermanentFailure
            )
            raise kind(f"{error.code} {error.reason}") from None
    return _open_response(answer, begun, size)


class _HttpOnlyRedirects(urllib.request.HTTPRedirectHandler):
    """The library would follow them to other protocols."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not is_url(newurl):
            raise _PermanentFailure(f"leads to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _open_response(answer, begun: int, size: int):
    with answer:
        start, whole = 0, answer.length  # None where it does not say
        if answer.status == 206:
            said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers["Content-Range"] or "")
            start, whole = (int(said[1]), said[2]) if said else (None, None)
            if start != begun or whole not in (str(size), "*"):
                raise (
                    _RangeUnsupported
                    if begun
                    else _PermanentFailure("answers another range than was asked for")
                )
        elif answer.status != 200:
            raise _PermanentFailure(f"{answer.status} {answer.reason}")
        elif whole not in (None, size):
            raise _PermanentFailure(f"{whole} bytes, where {size} were published")
        yield answer, start


@contextmanager
def _open_local_file(path: Path, begun: int, size: int):
    """A file of this machine."""
    try:
        with open(path, "rb") as file:
            if (found := os.fstat(file.fileno()).st_size) != size:
                raise _PermanentFailure(f"{found} bytes, where {size} were published")
            file.seek(begun)
            yield file, begun
    except OSError as error:
        raise _PermanentFailure(error.strerror or str(error)) from None


def _read_chunk(stream, most: int) -> bytes:
    with _classify_network_errors():
        return stream.read1(most)


@contextmanager
def _classify_network_errors():
    """What goes wrong on the way, as what it means."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        never = isinstance(why, SSLCertVerificationError) or isinstance(error, ValueError)
        raise (_PermanentFailure if never else _TemporaryFailure)(
            str(why) or type(why).__name__
        ) from None
