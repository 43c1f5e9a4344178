"""OPA's REST API over a unix socket or HTTP on this host, as far as the engine needs it.

Invariants: one try per request, no redirect, no proxy; an answer is bounded; an OPA that is gone or
talks nonsense is an `EngineFault`. The client library loads on first use only: it is large, and a
gate with the embedded engine never needs it.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson

from policy.bundle import Problem
from policy.engines import EngineFault
from policy.reason import Reason

ANSWER_BYTES_MAX: Final = 1 << 20
_JSON: Final = {"Content-Type": "application/json"}
_OK: Final = 200
_DONE: Final = frozenset({200, 204})
_DELETED: Final = frozenset({200, 204, 404})
_BAD_REQUEST: Final = 400
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class OpaRest:
    """The connections to one OPA."""

    def __init__(self, address: str) -> None:
        """For the OPA at `unix:/path` or `http://127.0.0.1:8181`.

        Raises:
            ValueError: the address is neither a socket path nor HTTP on loopback.
        """
        self._socket, self._base = _parsed(address)
        self._client: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close_connection()

    async def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request: its status and at most `ANSWER_BYTES_MAX` of body.

        Raises:
            EngineFault: policy_unavailable, or policy_malformed for an answer over its bound.
        """
        if self._closed:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, "the engine is closed")
        if self._client is None:
            self._client, self._failures = _client(self._socket, self._base)
        url, answer = f"{self._base}/v1/{path}", bytearray()
        try:
            async with self._client._request(
                method, url, data=body, headers=_JSON, allow_redirects=False
            ) as response:
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise EngineFault(Reason.POLICY_MALFORMED, "OPA's answer is too long")
                return response.status, bytes(answer)
        except self._failures as error:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, type(error).__name__) from None

    async def put_data(self, data: bytes) -> list[Problem]:
        """Replace all data; what OPA has against it.

        Raises:
            EngineFault: OPA cannot be asked.
        """
        return await self._put("data", "data", data)

    async def put_policy(self, name: str, file: str, source: str) -> list[Problem]:
        """Add or replace one module; what OPA has against it, said of `file`.

        Raises:
            EngineFault: OPA cannot be asked.
        """
        return await self._put(f"policies/{quote(name)}", file, source.encode())

    async def policies(self) -> list[str]:
        """The names of all modules.

        Raises:
            EngineFault: OPA cannot be asked.
        """
        status, answer = await self.call("GET", "policies")
        if status != _OK:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, f"OPA answered {status}")
        listed = json_object(answer).get("result")
        found = listed if isinstance(listed, list) else []
        return [str(policy.get("id", "")) for policy in found if isinstance(policy, dict)]

    async def delete_policy(self, name: str) -> bool:
        """Delete one module; whether it is gone. One that others need stays.

        Raises:
            EngineFault: OPA cannot be asked.
        """
        status, _ = await self.call("DELETE", f"policies/{quote(name)}")
        if status not in _DELETED | {_BAD_REQUEST}:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, f"OPA answered {status}")
        return status in _DELETED

    async def _put(self, path: str, file: str, body: bytes) -> list[Problem]:
        status, answer = await self.call("PUT", path, body)
        if status in _DONE:
            return []
        if status != _BAD_REQUEST:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, f"OPA answered {status}")
        return _problems(file, json_object(answer))


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is.

    Raises:
        EngineFault: policy_malformed.
    """
    try:
        value = orjson.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise EngineFault(Reason.POLICY_MALFORMED, "OPA's answer is no JSON object")
    return value


def _problems(file: str, answer: dict[str, Any]) -> list[Problem]:
    """The problems in OPA's own report, at least one."""
    errors = answer.get("errors")
    found = [
        Problem(file, int(error.get("location", {}).get("row", 0)), str(error.get("message", "")))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    ]
    return found or [Problem(file, 0, str(answer.get("message", "OPA refuses it")))]


def _parsed(address: str) -> tuple[str | None, str]:
    """The socket path, if any, and the base URL."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ValueError("the address of OPA names no socket")
        return path, "http://localhost"
    parts = urlsplit(address)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.path not in {"", "/"}:
        raise ValueError("the address of OPA is unix:<path> or http://<loopback>:<port>")
    return None, address.rstrip("/")


def _client(socket: str | None, base: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """opa-python-client with one try and, for a socket path, a session over that socket.

    Also what it raises when OPA cannot be asked. The client itself only speaks TCP, tries three
    times and sleeps in between.
    """
    import aiohttp  # noqa: PLC0415 - large
    from opa_client.opa_async import AsyncOpaClient  # noqa: PLC0415 - large

    class Client(AsyncOpaClient):  # type: ignore[misc]
        def open(self) -> None:
            """The session that `_init_session` would make, over the right kind of socket."""
            tcp, unix = aiohttp.TCPConnector, aiohttp.UnixConnector
            connector = tcp(limit=0) if socket is None else unix(path=socket, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )

    parts = urlsplit(base)
    client = Client(host=parts.hostname, port=parts.port or 80, retries=0)
    client.open()
    return client, (aiohttp.ClientError, OSError)
