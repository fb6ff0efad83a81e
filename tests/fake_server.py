"""A local web server that misbehaves as requested, and records the requests that it receives."""

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Names of behaviours.  The file can be downloaded; or it may be later; or it never can be.
STEADY = ("good", "no_ranges", "no_length", "tail", "chunks", "redirect")
PASSING = ("cut", "reset", "500", "503", "short", "silent", "trickle", "garbage", "no_answer")
NEVER = (
    *("404", "416", "204", "circle", "ftp", "wrong", "wrong_cut", "more", "less", "html"),
    *("other_range", "no_content_range"),
)


class FakeServer(ThreadingHTTPServer):
    """files: path -> content.
    plans: the first part of a URL's path -> the behaviours of its requests, in order; the last one
    holds for all further requests.
    requests: (path, Range header or None) of every request.
    pause: seconds between two blocks of 4096 bytes."""

    daemon_threads = True

    def __init__(
        self,
        files: dict[str, bytes],
        plans: dict[str, list[str]] | None = None,
        seed: int = 0,
        pause: float = 0.0,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.plans = plans or {}
        self.pause = pause
        self.requests: list[tuple[str, str | None]] = []
        self.random = random.Random(seed)
        self.stopped = threading.Event()

    def url(self, plan: str = "good") -> str:
        return f"http://127.0.0.1:{self.server_port}/{plan}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client has closed the connection


@contextmanager
def serving(*args: Any, **options: Any) -> Iterator[FakeServer]:
    """A running FakeServer with these arguments."""
    with FakeServer(*args, **options) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        plan, _, name = self.path[1:].partition("/")
        self.server.requests.append((name, self.headers["Range"]))
        behaviours = self.server.plans.get(plan, [plan])
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        content = self.server.files.get(name)
        if content is None or behaviour.isdecimal():
            self.send_error(int(behaviour) if content else 404)
            return
        getattr(self, behaviour)(content)

    # ---- The file can be downloaded

    def good(self, content: bytes, end: int | None = None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(match[1]) if match else 0
        if start >= len(content):
            self.send_error(416)
            return
        content_range = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        length = len(content) - start
        self.send_head(206 if match else 200, length, **(content_range if match else {}))
        self.send(content[start:] if end is None else content[start:end])

    def no_ranges(self, content: bytes) -> None:
        self.send_head(200, len(content))
        self.send(content)

    def no_length(self, content: bytes) -> None:
        self.send_head(200, None)
        self.send(content)

    def tail(self, content: bytes) -> None:
        self.send_head(200, None)
        self.send(content + b"and more")

    def chunks(self, content: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_head(200, None, **{"Transfer-Encoding": "chunked", "Connection": "close"})
        for start in range(0, len(content), 1000):
            chunk = content[start : start + 1000]
            self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.send(b"0\r\n\r\n")

    def redirect(self, content: bytes, to: str = "good", code: int | None = None) -> None:
        code = code or self.server.random.choice([301, 302, 303, 307, 308])
        self.send_head(code, 0, Location=f"/{to}/{self.path[1:].partition('/')[2]}")

    # ---- It may be possible later

    def cut(self, content: bytes) -> None:
        self.good(content, end=self.server.random.randrange(len(content)))

    def reset(self, content: bytes) -> None:
        self.good(content, end=self.server.random.randrange(len(content)))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def short(self, content: bytes) -> None:
        """Ends early, without a length that would reveal it."""
        self.send_head(200, None)
        self.send(content[: self.server.random.randrange(len(content))])

    def silent(self, content: bytes) -> None:
        self.send_head(200, len(content))
        self.send(content[: self.server.random.randrange(len(content))])
        self.server.stopped.wait(5)

    def no_answer(self, content: bytes) -> None:
        self.server.stopped.wait(5)

    def trickle(self, content: bytes) -> None:
        self.send_head(200, len(content))
        for byte in content:
            self.send(bytes([byte]))
            if self.server.stopped.wait(0.02):
                return

    def garbage(self, content: bytes) -> None:
        self.send(self.server.random.randbytes(200))

    # ---- It is never possible

    def wrong(self, content: bytes) -> None:
        place = self.server.random.randrange(len(content))
        self.good(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])

    def wrong_cut(self, content: bytes) -> None:
        self.good(bytes(len(content)), end=self.server.random.randrange(len(content)))

    def more(self, content: bytes) -> None:
        self.send_head(200, len(content) + 1 + self.server.random.randrange(100))
        self.send(content)

    def less(self, content: bytes) -> None:
        self.send_head(200, self.server.random.randrange(len(content)))
        self.send(content)

    def html(self, content: bytes) -> None:
        self.send_head(200, None)
        self.send(b"<html>Please log in.</html>" * 1000)

    def other_range(self, content: bytes) -> None:
        self.send_head(206, len(content), **{"Content-Range": f"bytes 7-9/{len(content) + 1}"})
        self.send(content)

    def no_content_range(self, content: bytes) -> None:
        self.send_head(206, len(content))
        self.send(content)

    def circle(self, content: bytes) -> None:
        self.redirect(content, to="circle", code=302)

    def ftp(self, content: bytes) -> None:
        self.send_head(302, 0, Location="ftp://127.0.0.1:9/file")

    # ----

    def send_head(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, content: bytes) -> None:
        if not self.server.pause:
            self.wfile.write(content)
            return
        for start in range(0, len(content), 4096):
            self.wfile.write(content[start : start + 4096])
            time.sleep(self.server.pause)
