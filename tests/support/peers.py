"""The other side of a connection, written without our own codec: a raw peer that reads HTTP/1.1.

It is deliberately strict about ends: `Peer.end()` tells a clean end from a reset, and a response is
`whole` only when its framing says so.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast


@dataclass
class Response:
    """One answer as it stood on the wire. `whole` is what its framing says."""

    status: int
    fields: dict[str, str]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    whole: bool = True


class Peer:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        return await self.reader.readuntil(mark)

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def response(self, *, head_request: bool = False) -> Response:
        """Read one response; one that breaks off is returned with `whole` False."""
        line, *lines = (await self.head()).decode().removesuffix("\r\n\r\n").split("\r\n")
        found = Response(int(line.split(" ")[1]), _fields(lines))
        bodiless = head_request or found.status < 200 or found.status in {204, 304}
        try:
            if bodiless:
                pass
            elif found.fields.get("transfer-encoding") == "chunked":
                await self._chunked(found)
            elif "content-length" in found.fields:
                found.body = await self.reader.readexactly(int(found.fields["content-length"]))
            else:
                found.body = await self.reader.read()
        except (asyncio.IncompleteReadError, OSError):
            found.whole = False
        return found

    async def _chunked(self, found: Response) -> None:
        body = bytearray()
        while size := int((await self.until(b"\r\n"))[:-2], 16):
            body += await self.reader.readexactly(size)
            found.body = bytes(body)
            if await self.reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk without its end")
        lines = []
        while (line := await self.until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2].decode())
        found.trailers = _fields(lines)

    async def end(self) -> str:
        """Swallow what still comes; how it ended: `eof` or `reset`."""
        try:
            while await self.reader.read(65536):
                continue
        except OSError:
            return "reset"
        return "eof"

    async def rest(self) -> bytes:
        """Everything up to a clean end."""
        return await self.reader.read()

    def hold(self) -> None:
        """Read no more from the socket."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def let_go(self) -> None:
        """Read on."""
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Vanish: the other side gets RST."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


def _fields(lines: list[str]) -> dict[str, str]:
    pairs = [line.partition(": ") for line in lines]
    found: dict[str, str] = {}
    for name, _, value in pairs:
        if name in found:
            raise ValueError(f"{name} came twice")
        found[name] = value
    return found


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A raw server that plays `script` on each connection, and keeps what it saw."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(
            self._play, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.writer.transport.abort()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._script(peer)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.ends.put_nowait(type(error).__name__)
        except asyncio.CancelledError:
            return
        writer.close()
