"""An authority that says what a test wants it to, on a real TLS socket under the right name."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any

from ca.spiffe.ids import SpiffeId, TrustDomain
from sidecar.address import Address
from sidecar.control.authority import Authority
from sidecar.identity.credentials import Credentials
from sidecar.net.deadlines import Deadlines
from sidecar.net.network import LoopNetwork
from tests.support.http_peer import Message, read_body, read_head
from tests.support.identities import DOMAIN, Identities


class Scripted:
    """Plays `lines` to each control stream and answers posts with `answer`."""

    def __init__(self, identities: Identities, *, name: str = "") -> None:
        """`name`: a workload that pretends to be the authority."""
        self.identities = identities
        credentials = identities.credentials(name or "x")
        if not name:
            credentials = authority_credentials(identities)
        self._tls = identities.tls(credentials, server_side=True)
        self._tls.verify_mode = ssl.CERT_OPTIONAL  # who attests has no certificate yet
        self.lines: Callable[[int], list[object]] = lambda _: []
        self.answer: Callable[[Message], tuple[int, bytes]] = lambda _: (200, b"{}")
        self.hold = True
        self.posts: list[Message] = []
        self.streams = 0
        self.began = asyncio.Event()
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        self._server.close()
        self.break_off()

    def break_off(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def say(self, line: object) -> None:
        """One more line to whoever listens."""
        for writer in self._writers:
            writer.write(_chunk(line))

    def client(self, deadlines: Deadlines, *, answer_s: float = 5.0) -> Authority:
        return Authority(
            Address("127.0.0.1", self.port),
            None,
            TrustDomain.parse(DOMAIN),
            LoopNetwork(),
            deadlines,
            answer_s=answer_s,
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            request = await read_head(reader)
            await read_body(reader, request)
            if request.method == "POST":
                self.posts.append(request)
                status, body = self.answer(request)
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                writer.close()
                return
            self.streams += 1
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for line in self.lines(self.streams):
                writer.write(_chunk(line))
            await writer.drain()
            self.began.set()
            if self.hold:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            if self.hold and not writer.is_closing():
                writer.transport.abort()
            else:
                writer.close()


def authority_credentials(identities: Identities) -> Credentials:
    return identities.credentials(
        "", spiffe_id=f"spiffe://{identities.domain}/narrowgate/authority"
    )


def _chunk(line: object) -> bytes:
    data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def problem(status: int, detail: str) -> tuple[int, bytes]:
    return status, json.dumps({"title": "x", "detail": detail}).encode()


Line = dict[str, Any]
__all__ = ["Scripted", "SpiffeId", "authority_credentials", "problem"]
