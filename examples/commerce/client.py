"""The customer: speaks HTTPS to an edge and plain HTTP to a service, and reports what came back."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 15.0


class Answer(NamedTuple):
    """A response, or why there was none: `failure` is then set and `status` is 0."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    failure: str = ""

    @property
    def reason(self) -> str:
        """The refusal's label, when the gate tells this caller."""
        return self.headers.get("x-narrowgate-reason", "")

    @property
    def decision(self) -> str:
        """The id under which the gate recorded its decision."""
        return self.headers.get("x-narrowgate-decision", "")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def __str__(self) -> str:
        return self.failure or f"{self.status} {self.reason}".rstrip()


class Request(NamedTuple):
    """What to ask; `body` goes as JSON."""

    method: str
    target: str
    body: object | None = None
    fields: Mapping[str, str] = {}

    def with_fields(self, more: Mapping[str, str]) -> Request:
        """The same request with more header fields."""
        return self._replace(fields={**self.fields, **more})


def get(target: str, fields: Mapping[str, str] | None = None) -> Request:
    """A GET."""
    return Request("GET", target, None, fields or {})


def post(target: str, body: object, fields: Mapping[str, str] | None = None) -> Request:
    """A POST of JSON."""
    return Request("POST", target, body, fields or {})


def send(connection: http.client.HTTPConnection, request: Request) -> Answer:
    """One request on its own connection; a connection or TLS failure is an `Answer` too."""
    try:
        return ask(connection, request.with_fields({"Connection": "close"}))
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, request: Request) -> Answer:
    """One request on a connection that stays open when both sides want it."""
    data = None if request.body is None else json.dumps(request.body).encode()
    wanted = dict(request.fields)
    if data is not None:
        wanted.setdefault("Content-Type", "application/json")
    try:
        connection.request(request.method, request.target, data, wanted)
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
    except (OSError, http.client.HTTPException) as failure:
        return Answer(0, {}, b"", _failure(failure))


def _failure(error: Exception) -> str:
    """Why there is no answer. A TLS alert may be lost to a reset, so both are one outcome."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens"
    return "closed unanswered"


class Customer:
    """Somebody outside the mesh, who trusts the shop's web certificate."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.create_default_context(cafile=str(certificate))

    def send(self, port: int, request: Request, token: str | None = None) -> Answer:
        """One request to the edge on `port`, with `token` as bearer."""
        if token is not None:
            request = request.with_fields({"Authorization": f"Bearer {token}"})
        return send(self.connect(port), request)

    def connect(self, port: int) -> http.client.HTTPSConnection:
        """A connection to the edge, for a request that is sent piece by piece."""
        return http.client.HTTPSConnection(
            "localhost", port, context=self._context, timeout=TIMEOUT_S
        )


def through_proxy(proxy_port: int, request: Request) -> Answer:
    """What a program with `http_proxy` set does: the absolute URL as target, to the proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy_port, timeout=TIMEOUT_S)
    host = request.target.removeprefix("http://").partition("/")[0]
    return send(connection, request.with_fields({"Host": host}))


def plain(port: int, request: Request) -> Answer:
    """Plain HTTP to a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    return send(connection, request)
