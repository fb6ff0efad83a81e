"""A web server of this machine that misbehaves as it is told, and notes what it was asked."""

import random
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEADY = ("good", "no_ranges", "unsized", "tail", "chunked", "redirect")  # it is to be had
PASSING = ("cut", "reset", "500", "503", "short", "silent", "trickle", "garbage", "no_answer")
NEVER = ("404", "416", "204", "circle", "ftp", "wrong", "wrong_cut", "more", "less", "html",
         "other_range", "no_range_said")  # fmt: skip


class Host(ThreadingHTTPServer):
    """files: path -> bytes; plans: the first part of a path -> the misbehaviours of its requests in
    their order, the last for all that follow; asked: (path, Range or None) of every request."""

    daemon_threads = True

    def __init__(self, files: dict, plans: dict | None = None, seed: int = 0, pause: float = 0.0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.plans, self.asked, self.pause = files, plans or {}, [], pause
        self.random, self.over = random.Random(seed), threading.Event()

    def address(self, plan: str = "good") -> str:
        return f"http://127.0.0.1:{self.server_port}/{plan}"

    def handle_error(self, request, client_address):
        pass  # who asked has gone


@contextmanager
def serving(*args, **more):
    with Host(*args, **more) as host:
        threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield host
        finally:
            host.over.set()
            host.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        plan, _, name = self.path[1:].partition("/")
        self.server.asked.append((name, self.headers["Range"]))
        todo = self.server.plans.get(plan, [plan])
        how = todo.pop(0) if len(todo) > 1 else todo[0]
        content = self.server.files.get(name)
        if content is None or how.isdecimal():
            self.send_error(int(how) if content else 404)
            return
        getattr(self, how)(content)

    # ---- The file is to be had

    def good(self, content, end=None, tail=b""):
        begun = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(begun[1]) if begun else 0
        if start >= len(content):
            self.send_error(416)
            return
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.answer(206 if begun else 200, len(content) - start, **(span if begun else {}))
        self.send((content[start:] if end is None else content[start:end]) + tail)

    def no_ranges(self, content):
        self.answer(200, len(content))
        self.send(content)

    def unsized(self, content):
        self.answer(200, None)
        self.send(content)

    def tail(self, content):
        self.answer(200, None)
        self.send(content + b"and more")

    def chunked(self, content):
        self.protocol_version = "HTTP/1.1"
        self.answer(200, None, **{"Transfer-Encoding": "chunked", "Connection": "close"})
        for start in range(0, len(content), 1000):
            piece = content[start : start + 1000]
            self.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.send(b"0\r\n\r\n")

    def redirect(self, content, to="good", code=None):
        self.answer(code or self.server.random.choice([301, 302, 303, 307, 308]), 0,
                    Location=f"/{to}/{self.path[1:].partition('/')[2]}")  # fmt: skip

    # ---- It may be, another time

    def cut(self, content):
        self.good(content, end=self.server.random.randrange(len(content)))

    def reset(self, content):
        self.good(content, end=self.server.random.randrange(len(content)))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def short(self, content):
        """Ends early without a length that would tell."""
        self.answer(200, None)
        self.send(content[: self.server.random.randrange(len(content))])

    def silent(self, content):
        self.answer(200, len(content))
        self.send(content[: self.server.random.randrange(len(content))])
        self.server.over.wait(5)

    def no_answer(self, content):
        self.server.over.wait(5)

    def trickle(self, content):
        self.answer(200, len(content))
        for byte in content:
            self.send(bytes([byte]))
            if self.server.over.wait(0.02):
                return

    def garbage(self, content):
        self.send(self.server.random.randbytes(200))

    # ---- It is not

    def wrong(self, content):
        place = self.server.random.randrange(len(content))
        self.good(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])

    def wrong_cut(self, content):
        self.good(bytes(len(content)), end=self.server.random.randrange(len(content)))

    def more(self, content):
        self.answer(200, len(content) + 1 + self.server.random.randrange(100))
        self.send(content)

    def less(self, content):
        self.answer(200, self.server.random.randrange(len(content)))
        self.send(content)

    def html(self, content):
        self.answer(200, None)
        self.send(b"<html>Please log in.</html>" * 1000)

    def other_range(self, content):
        self.answer(206, len(content), **{"Content-Range": f"bytes 7-9/{len(content) + 1}"})
        self.send(content)

    def no_range_said(self, content):
        self.answer(206, len(content))
        self.send(content)

    def circle(self, content):
        self.redirect(content, to="circle", code=302)

    def ftp(self, content):
        self.answer(302, 0, Location="ftp://127.0.0.1:9/file")

    # ----

    def answer(self, code, length, **headers):
        self.send_response(code)
        if length is not None:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, content):
        if not self.server.pause:
            self.wfile.write(content)
            return
        for start in range(0, len(content), 4096):  # a slow host
            self.wfile.write(content[start : start + 4096])
            time.sleep(self.server.pause)
