"""Download a published file completely and correctly, or say in one line why that is impossible.

A source is a URL (http, https) or the path of a file.  All sources are tried in order.  One that
delivers something is asked again for the rest; one that delivers nothing is retried after the
others, after growing pauses.  What cannot succeed later (status 404, another size, other content)
is not retried.

Everything that arrives goes into one file, from whatever source, and only the rest is requested
(RFC 9110, section 14).  ETags are not used: size and MD5 are known beforehand and show at the end
whether all pieces belong to the same file.  If they do not, each source is asked for the whole
file, and pieces are no longer mixed.
"""

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BufferedReader
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import IO, NamedTuple, TypeAlias

from data.download.checksums import file_md5
from data.spec import Archive
from utils.console import DownloadProgressBar, print_line, to_one_line
from utils.errors import SystemRefusal
from utils.files import os_errors_refused

USER_AGENT = "deep-active-learning"  # some hosts refuse Python's own
CHUNK_BYTES = 1 << 16
RETRY_STATUS_CODES = (408, 425, 429)  # besides 500 and above

Stream: TypeAlias = HTTPResponse | BufferedReader


class DownloadLimits(NamedTuple):
    """When to give up a source, and how often to try all of them."""

    timeout_seconds: float = 20.0  # to connect, and without receiving a byte
    stall_seconds: float = 60.0  # a source must deliver `min_bytes` in each such interval
    min_bytes: int = 1 << 16  # an attempt that delivers less counts as failed
    max_rounds: int = 5  # failed attempts per source
    pause_seconds: float = 1.0  # after the first round; doubled after each further round


DEFAULT_LIMITS = DownloadLimits()


class _TemporaryFailure(Exception):
    """The source may deliver the file later."""


class _PermanentFailure(Exception):
    """The source does not have the file."""


class _RestartDownload(Exception):
    """The source is to be asked again immediately, for the whole file."""


class _RangeUnsupported(_RestartDownload):
    """The source does not deliver the rest of a file, or that of another file."""


def is_url(source: str) -> bool:
    """Whether a source is a URL; otherwise it is the path of a file."""
    return bool(re.match(r"https?://", source, re.IGNORECASE))


def download_archive(
    archive: Archive, part: Path, sources: Sequence[str], limits: DownloadLimits = DEFAULT_LIMITS
) -> None:
    """Download the archive to the file `part`; what is already in it from before is kept.

    No other process may write the file.  Raises SystemRefusal where no source has the archive, in
    which case the partial download is kept, or where the file cannot be written."""
    _Download(archive, part, sources, limits).run()


class _Download:
    def __init__(
        self, archive: Archive, part: Path, sources: Sequence[str], limits: DownloadLimits
    ):
        self.archive, self.part_path, self.limits = archive, part, limits
        self.name = Path(archive.path).name
        self.sources = list(dict.fromkeys(sources))
        self.last_errors: dict[str, str] = {}  # source -> its last failure
        self.sources_without_ranges: set[str] = set()  # they do not deliver the rest of a file
        # Those that delivered the last piece of a mixed file whose MD5 was wrong.
        self.suspect_sources: set[str] = set()
        self.last_source: str | None = None  # of the last piece
        self.is_whole_file = False  # whether the last piece started at the beginning

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
        failures = "; ".join(f"{source}: {reason}" for source, reason in self.last_errors.items())
        count = self.bytes_on_disk()
        partial = f" (the first {count} bytes are kept for the next attempt)" if count else ""
        raise SystemRefusal(
            f"{self.name} could not be downloaded: {to_one_line(failures)}{partial}"
        )

    def try_source(self, source: str) -> bool:
        """Whether the file is complete after everything that this source delivers now."""
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
            except _PermanentFailure as failure:
                self.sources.remove(source)
                self.log_failure(source, failure)
            except _TemporaryFailure as failure:
                self.log_failure(source, failure)
                if self.bytes_on_disk() - before < self.limits.min_bytes:
                    return False
                time.sleep(self.limits.pause_seconds)
        return False

    def log_failure(self, source: str, failure: Exception) -> None:
        self.last_errors[source] = str(failure)
        print_line(to_one_line(f"{self.name}: {source}: {failure}"))

    def download_from(self, source: str) -> None:
        """Append to the partial file what this source has beyond it."""
        with os_errors_refused(self.part_path):
            if self.suspect_sources and self.last_source != source:
                self.part_path.unlink(missing_ok=True)
            self.part_path.touch()
        begin = 0 if source in self.sources_without_ranges else self.bytes_on_disk()
        opened = _open_source(source, begin, self.archive.size, self.limits.timeout_seconds)
        with (
            opened as (stream, start),
            os_errors_refused(self.part_path),
            open(self.part_path, "r+b") as file,
        ):
            # A source that starts at the beginning overwrites what is there.  The file is not
            # truncated, so nothing is lost if this source ends earlier than the last one.
            file.seek(start)
            self.last_source, self.is_whole_file = source, start == 0
            self.copy_stream(stream, file)
            os.fsync(file.fileno())

    def copy_stream(self, stream: Stream, file: IO[bytes]) -> None:
        position, size, limits = file.tell(), self.archive.size, self.limits
        interval_start, interval_bytes = time.monotonic(), 0
        with DownloadProgressBar(self.name, position, size) as progress:
            while position < size:
                chunk = _read_chunk(stream, min(CHUNK_BYTES, size - position))
                if not chunk:
                    raise _TemporaryFailure(f"ended after {position} of {size} bytes")
                file.write(chunk)
                file.flush()  # so that a process can resume after this one is killed
                position += len(chunk)
                interval_bytes += len(chunk)
                progress.update(len(chunk))
                if time.monotonic() - interval_start > limits.stall_seconds:
                    if interval_bytes < limits.min_bytes:
                        raise _TemporaryFailure(
                            f"{interval_bytes} bytes in {limits.stall_seconds:g} s"
                        )
                    interval_start, interval_bytes = time.monotonic(), 0

    def verify_download(self, source: str) -> None:
        with os_errors_refused(self.part_path):
            if self.is_complete():
                return
            self.part_path.unlink()
        if self.is_whole_file or source in self.suspect_sources:
            raise _PermanentFailure("not the published file (other MD5)")
        self.suspect_sources.add(source)
        raise _RestartDownload

    def bytes_on_disk(self) -> int:
        return self.part_path.stat().st_size if self.part_path.exists() else 0

    def is_complete(self) -> bool:
        return (
            self.bytes_on_disk() == self.archive.size
            and file_md5(self.part_path) == self.archive.md5
        )


def _open_source(
    source: str, begin: int, size: int, timeout_seconds: float
) -> AbstractContextManager[tuple[Stream, int]]:
    """A context -> a stream, and the position in the file at which it starts: `begin` or 0.

    begin: position from which the file is needed; size: of the whole file."""
    if not is_url(source):
        return _open_local_file(Path(source), begin, size)
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={begin}-"} if begin else {})
    with _classify_network_errors():
        try:
            request = urllib.request.Request(source, headers=headers)
            opener = urllib.request.build_opener(_HttpOnlyRedirects)
            response = opener.open(request, timeout=timeout_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if begin and error.code == 416:
                raise _RangeUnsupported from None
            is_temporary = error.code in RETRY_STATUS_CODES or error.code >= 500
            kind = _TemporaryFailure if is_temporary else _PermanentFailure
            raise kind(f"{error.code} {error.reason}") from None
    return _open_response(response, begin, size)


class _HttpOnlyRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects to other protocols, which the library would follow."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_url(newurl):
            raise _PermanentFailure(f"redirects to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _open_response(response: HTTPResponse, begin: int, size: int) -> Iterator[tuple[Stream, int]]:
    with response:
        start = 0
        if response.status == 206:
            content_range = response.headers["Content-Range"] or ""
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
            if match is None or int(match[1]) != begin or match[2] not in (str(size), "*"):
                if begin:
                    raise _RangeUnsupported
                raise _PermanentFailure("delivers another range than requested")
            start = begin
        elif response.status != 200:
            raise _PermanentFailure(f"{response.status} {response.reason}")
        elif response.length not in (None, size):  # None where the source does not say
            raise _PermanentFailure(f"{response.length} bytes instead of the published {size}")
        yield response, start


@contextmanager
def _open_local_file(path: Path, begin: int, size: int) -> Iterator[tuple[Stream, int]]:
    try:
        with open(path, "rb") as file:
            if (file_size := os.fstat(file.fileno()).st_size) != size:
                raise _PermanentFailure(f"{file_size} bytes instead of the published {size}")
            file.seek(begin)
            yield file, begin
    except OSError as error:
        raise _PermanentFailure(error.strerror or str(error)) from None


def _read_chunk(stream: Stream, max_bytes: int) -> bytes:
    with _classify_network_errors():
        return stream.read1(max_bytes)


@contextmanager
def _classify_network_errors() -> Iterator[None]:
    """Network errors as _TemporaryFailure or _PermanentFailure."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        is_permanent = isinstance(reason, SSLCertVerificationError) or isinstance(error, ValueError)
        kind = _PermanentFailure if is_permanent else _TemporaryFailure
        raise kind(str(reason) or type(reason).__name__) from None
