"""A server on this machine that does what a test tells it, and a clock that does not wait."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class FakeClock:
    """Time passes only by sleeping; every sleep is noted."""

    def __init__(self):
        self.time = 100.0
        self.slept = []

    def now(self):
        return self.time

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return FakeClock()


class LocalServer:
    """Answers each POST with `respond(number of the request from 1, body)`: a JSON value, or (status, headers, bytes), or seconds to hang without an answer."""

    def __init__(self):
        self.bodies = []
        self.headers = []
        self.running = self.most_at_once = 0
        self.respond = lambda number, body: {"scores": [[float(len(text))] for text in body["completions"]]}
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    number = len(outer.bodies)
                    outer.running += 1
                    outer.most_at_once = max(outer.most_at_once, outer.running)
                try:
                    self.answer(outer.respond(number, body))
                finally:
                    with lock:
                        outer.running -= 1

            def answer(self, what):
                if isinstance(what, float):
                    time.sleep(what)
                    self.close_connection = True
                    return
                status, headers, content = what if isinstance(what, tuple) else (200, {}, json.dumps(what).encode())
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/score"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = LocalServer()
    yield local
    local.server.shutdown()
    local.server.server_close()
