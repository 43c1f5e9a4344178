"""What the five services have in common: settings, a database file, calling others, serving.

This is ordinary application code. It knows nothing of a mesh: to call another service it opens
`http://<name>/...` with urllib, which honours `http_proxy` as any program does, and it passes on
the two tracing fields that every traced application passes on.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol

TRACING_FIELDS = ("x-request-id", "traceparent", "tracestate")
CALL_TIMEOUT_S = 10.0
BODY_BYTES_MAX = 65536

log = logging.getLogger("shop")


@dataclass(frozen=True)
class Settings:
    """Where a service listens and keeps its data; all of it from the environment."""

    host: str
    port: int
    database: Path
    log_headers: bool

    @classmethod
    def from_environment(cls) -> Settings:
        """`LISTEN=127.0.0.1:8001`, `DATABASE=/path/to.sqlite`, `LOG_HEADERS=1` to debug."""
        host, _, port = os.environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
        return cls(
            host=host,
            port=int(port),
            database=Path(os.environ.get("DATABASE", "shop.sqlite")),
            log_headers=os.environ.get("LOG_HEADERS", "") == "1",
        )


class Database:
    """One SQLite file; a connection per piece of work, committed when the work succeeds."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.work() as rows:
            rows.execute("PRAGMA journal_mode = WAL")
            rows.executescript(schema)

    @contextmanager
    def work(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, rolled back on an exception."""
        connection = sqlite3.connect(self._path, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        finally:
            connection.close()


class Reply(NamedTuple):
    """What another service answered. `status` 0 means that it could not be reached."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def post(url: str, body: object, incoming: Mapping[str, str], key: str) -> Reply:
    """POST JSON to another service with an Idempotency-Key, keeping the caller's trace."""
    fields = {"Content-Type": "application/json", "Idempotency-Key": key}
    fields.update({name: incoming[name] for name in TRACING_FIELDS if name in incoming})
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, fields, method="POST")  # noqa: S310 (our own URLs)
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:  # noqa: S310
            return Reply(answer.status, _json_object(answer.read()))
    except urllib.error.HTTPError as refused:
        with refused:
            return Reply(refused.code, _json_object(refused.read()))
    except OSError as failure:
        log.warning("%s: %s", url, failure)
        return Reply(0, {})


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def note(settings: Settings, method: str, path: str, fields: Iterable[tuple[str, str]]) -> None:
    """One line per request on standard output; with its fields when debugging."""
    line: dict[str, object] = {"method": method, "path": path}
    if settings.log_headers:
        line["headers"] = {name.lower(): value for name, value in fields}
    print(json.dumps(line), flush=True)


class JsonHandler(BaseHTTPRequestHandler):
    """A small JSON service on `http.server`: subclasses write `get(path)` and `post(path, body)`.

    Both return `(status, object)`.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    settings: Settings

    def get(self, path: str) -> tuple[int, object]:
        return 404, {"error": f"nothing at {path}"}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        return 404, {"error": f"nothing at {path}, and {len(body)} values ignored"}

    def do_GET(self) -> None:
        note(self.settings, "GET", self.path, self.headers.items())
        path = self.path.partition("?")[0]
        self._answer(*((200, {"status": "ok"}) if path == "/healthz" else self.get(path)))

    def do_POST(self) -> None:
        note(self.settings, "POST", self.path, self.headers.items())
        length = int(self.headers.get("Content-Length", "0"))
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(413, {"error": "too large"})
            return
        body = _json_object(self.rfile.read(length))
        self._answer(*self.post(self.path.partition("?")[0], body))

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is inherited)
        """Quiet: `note` has already written the line."""


class Server(Protocol):
    """What `http.server` and Werkzeug servers have in common."""

    def serve_forever(self) -> None: ...
    def shutdown(self) -> None: ...
    def server_close(self) -> None: ...


def plain_server(settings: Settings, handler: type[JsonHandler]) -> ThreadingHTTPServer:
    """A threading server for a handler class."""
    server = ThreadingHTTPServer((settings.host, settings.port), handler)
    server.daemon_threads = True
    return server


def run(server: Server) -> int:
    """Serve until SIGTERM or SIGINT, then close cleanly. Returns the exit code 0."""
    stopping = threading.Event()

    def stop(signum: int, frame: object) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    stopping.wait()
    server.shutdown()
    server.server_close()
    print("stopped", file=sys.stderr, flush=True)
    return 0
