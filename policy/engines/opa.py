"""The engine that asks a real OPA, over a unix socket or HTTP on this host.

Invariants: one try per decision, within our own deadline; nothing but a 200 with a JSON object is
an answer, and an object without `result` is an undefined decision; an OPA that is gone, slow or
talking nonsense is a fault with its own reason. The client library loads on first use only: it is
large, and a gate with the embedded engine never needs it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson

from policy import lint
from policy.bundle import PolicyBundle, PolicyError, Problem
from policy.engines import UNDEFINED, EngineFault
from policy.input import EVERYTHING, Needs
from policy.reason import Reason

ANSWER_BYTES_MAX: Final = 1 << 20
_LOAD_TIMEOUT_S: Final = 10.0
_PREFIX: Final = "narrowgate/"
_JSON: Final = {"Content-Type": "application/json"}
_OK: Final = 200
_DONE: Final = frozenset({200, 204})
_BAD_REQUEST: Final = 400
_FAILED: Final = frozenset({400, 500})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class OpaEngine:
    """One decision of the policy in a running OPA."""

    def __init__(
        self,
        address: str,
        decision: str,
        *,
        timeout_s: float = 0.25,
        needs: Needs = EVERYTHING,
    ) -> None:
        """An engine that asks the OPA at `unix:/path` or `http://127.0.0.1:8181`.

        `needs` is what its policy reads; everything, unless `load` finds out.

        Raises:
            ValueError: the address is neither a socket path nor HTTP on loopback, or the decision
                is no path of names.
        """
        if not all(map(_NAME.match, decision.split("/"))):
            raise ValueError(f"`{decision}` is not a decision path")
        if not timeout_s > 0:
            raise ValueError("timeout_s must be positive")
        self._socket, self._base = _parsed(address)
        self._decision: Final = decision
        self._timeout_s: Final = timeout_s
        self._needs = needs
        self._client: Any = None
        self._closed = False

    @property
    def needs(self) -> Needs:
        """What the policy reads of its input."""
        return self._needs

    async def load(self, bundle: PolicyBundle) -> None:
        """Put the modules and data of `bundle` into OPA, and find out what they read.

        Modules of an earlier bundle are deleted. OPA takes them one by one, so load before the
        engine judges.

        Raises:
            PolicyError: OPA does not take them; every problem OPA names.
            EngineFault: OPA cannot be asked.
        """
        problems: list[Problem] = []
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_S):
                for root, value in bundle.data.items():
                    path = f"data/{quote(root, safe='')}"
                    problems += await self._put(path, f"data/{root}", orjson.dumps(value))
                await self._delete_others(set(bundle.modules))
                for file, source in bundle.modules.items():
                    path = f"policies/{_PREFIX}{quote(file, safe='')}"
                    problems += await self._put(path, file, source.encode())
        except TimeoutError:
            raise EngineFault(Reason.POLICY_TIMEOUT, "OPA did not load in time") from None
        if problems:
            raise PolicyError(problems)
        modules, unparsed = lint.read_modules(bundle)
        self._needs = EVERYTHING if unparsed else lint.needs(modules)

    async def evaluate(self, document: bytes) -> object:
        """The decision for `document`.

        Raises:
            EngineFault: policy_unavailable, policy_timeout, policy_malformed or policy_error.
        """
        body = b'{"input":' + document + b"}"
        try:
            async with asyncio.timeout(self._timeout_s):
                status, answer = await self._call("POST", f"data/{self._decision}", body)
        except TimeoutError:
            raise EngineFault(Reason.POLICY_TIMEOUT, "OPA did not answer in time") from None
        if status != _OK:
            reason = Reason.POLICY_ERROR if status in _FAILED else Reason.POLICY_UNAVAILABLE
            raise EngineFault(reason, f"OPA answered {status}")
        value = _object(answer)
        return value.get("result", UNDEFINED)

    async def close(self) -> None:
        """Close the connections to OPA; the policy stays in it. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close_connection()

    async def _call(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """One request to OPA's REST API: its status and at most `ANSWER_BYTES_MAX` of body."""
        import aiohttp  # noqa: PLC0415 - large

        if self._closed:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, "the engine is closed")
        if self._client is None:
            self._client = _client(self._socket, self._base)
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
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, type(error).__name__) from None

    async def _put(self, path: str, file: str, body: bytes) -> list[Problem]:
        status, answer = await self._call("PUT", path, body)
        if status in _DONE:
            return []
        if status != _BAD_REQUEST:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, f"OPA answered {status}")
        return _problems(file, _object(answer))

    async def _delete_others(self, kept: set[str]) -> None:
        """Delete what an earlier bundle left, and what this one replaces."""
        status, answer = await self._call("GET", "policies", None)
        if status != _OK:
            raise EngineFault(Reason.POLICY_UNAVAILABLE, f"OPA answered {status}")
        listed = _object(answer).get("result")
        for policy in listed if isinstance(listed, list) else []:
            name = str(policy.get("id", ""))
            if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in kept:
                await self._call("DELETE", f"policies/{quote(name)}", None)


def _object(body: bytes) -> dict[str, Any]:
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


def _client(socket: str | None, base: str) -> Any:
    """opa-python-client with one try and, for a socket path, a session over that socket.

    The client itself only speaks TCP, tries three times and sleeps in between.
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
    return client
