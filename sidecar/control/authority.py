"""Talking to the authority: attest, renew, and the lines of the control stream.

Invariants: the authority's SPIFFE ID is pinned on each connection; answers are bounded; a refusal
by the authority keeps its own words, so that an operator can act on them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import orjson

from ca.spiffe.ids import SpiffeId, TrustDomain
from policy.reason import Reason
from sidecar.address import Address
from sidecar.http.client import ClientConnection
from sidecar.http.head import Field, Framing, Limits, Refused
from sidecar.http.http1 import encode_request
from sidecar.identity.peer import Peer, peer_of
from sidecar.net.deadlines import Deadlines
from sidecar.net.network import Network

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
LINE_BYTES_MAX: Final = 32 * 1024 * 1024
OK: Final = 200


class AuthorityError(Exception):
    """The authority could not be reached, or refused; `refused` tells which."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused: Final = refused


class Authority:
    """The authority's API as this gate uses it."""

    def __init__(
        self,
        address: Address,
        socket: Path | None,
        domain: TrustDomain,
        network: Network,
        deadlines: Deadlines,
        *,
        answer_s: float,
    ) -> None:
        self._address = address
        self._socket = socket
        self._id = SpiffeId.parse(f"spiffe://{domain.name}/narrowgate/authority")
        self._network = network
        self._deadlines = deadlines
        self._answer_s = answer_s
        self._limits = Limits(body_bytes_max=None)

    async def post(
        self, path: str, body: Mapping[str, object], context: ssl.SSLContext | None
    ) -> dict[str, object]:
        """POST JSON; `context` None: over the authority's unix socket.

        Raises:
            AuthorityError: unreachable, refused, or an answer that is no JSON object.
        """
        data = orjson.dumps(body)
        try:
            connection = await self._connect(context)
            try:
                status, answer = await self._exchange(connection, path, data)
            finally:
                connection.end()
        except (Refused, OSError, TimeoutError) as error:
            raise AuthorityError(f"no answer from the authority: {_short(error)}") from None
        document = _object(answer)
        if status != OK:
            detail = document.get("detail") or document.get("title") or "no reason given"
            raise AuthorityError(f"the authority refused ({status}): {detail}", refused=True)
        return document

    async def lines(
        self, path: str, context: ssl.SSLContext, silence_s: float
    ) -> AsyncGenerator[dict[str, object], None]:
        """The JSON lines of a stream that does not end by itself.

        Raises:
            AuthorityError: it cannot be had, broke off, or was silent for `silence_s`.
        """
        try:
            connection = await self._connect(context)
        except (Refused, OSError, TimeoutError) as error:
            raise AuthorityError(f"no answer from the authority: {_short(error)}") from None
        try:
            async for line in self._lines(connection, path, silence_s):
                yield _object(line)
        except Refused as error:
            raise AuthorityError(f"the control stream broke: {_short(error)}") from None
        finally:
            connection.end()

    async def _lines(
        self, connection: ClientConnection, path: str, silence_s: float
    ) -> AsyncIterator[bytes]:
        self._begin(connection, "GET", path, b"", silence_s)
        head = await connection.response()
        if head.status != OK:
            raise AuthorityError(f"the authority refused the stream ({head.status})", refused=True)
        waiting = bytearray()
        while chunk := await connection.read():
            connection.deadline_s = self._deadlines.now_s + silence_s
            waiting += chunk
            if len(waiting) > LINE_BYTES_MAX:
                raise AuthorityError("a line of the control stream is over its bound")
            *lines, rest = waiting.split(b"\n")
            waiting = bytearray(rest)
            for line in lines:
                if line:
                    yield bytes(line)
        raise AuthorityError("the authority ended the control stream")

    async def _exchange(
        self, connection: ClientConnection, path: str, data: bytes
    ) -> tuple[int, bytes]:
        self._begin(connection, "POST", path, data, self._answer_s)
        head = await connection.response()
        answer = bytearray()
        while chunk := await connection.read():
            answer += chunk
            if len(answer) > ANSWER_BYTES_MAX:
                raise Refused(Reason.DESTINATION_MALFORMED, "the answer is over its bound")
        return head.status, bytes(answer)

    def _begin(
        self, connection: ClientConnection, method: str, path: str, data: bytes, wait_s: float
    ) -> None:
        fields: list[Field] = [(b"accept", b"application/json")]
        if data:
            fields.append((b"content-type", b"application/json"))
        framing = Framing.LENGTH if data else Framing.NONE
        authority = str(self._address).encode()
        head = encode_request(method, path.encode(), authority, fields, framing, len(data))
        connection.begin(method, head + data, self._deadlines.now_s + wait_s)

    async def _connect(self, context: ssl.SSLContext | None) -> ClientConnection:
        def factory() -> ClientConnection:
            admit = None if context is None else self._admit
            return ClientConnection(self._deadlines, self._limits, context, admit)

        async with asyncio.timeout(self._answer_s):
            if context is None:
                if self._socket is None:
                    raise AuthorityError("authority.socket is not configured")
                made = await self._network.connect_unix(factory, str(self._socket))
            else:
                where = self._address
                made = await self._network.connect(factory, where.host, where.port)
            if not isinstance(made, ClientConnection):
                raise TypeError("the network did not use the factory")
            try:
                await made.ready
            except BaseException:
                made.abort()  # an authority that accepts and then is silent keeps no socket of ours
                raise
        return made

    def _admit(self, certificate: bytes | None) -> Peer:
        peer = peer_of(certificate or b"")
        if peer.id != self._id:
            raise Refused(Reason.DESTINATION_IDENTITY, "this is not the authority")
        return peer


def _object(data: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise AuthorityError("the authority's answer is not JSON") from None
    if not isinstance(document, dict):
        raise AuthorityError("the authority's answer is not an object")
    return document


def _short(error: Exception) -> str:
    if isinstance(error, Refused):
        return error.detail or error.reason.label
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
