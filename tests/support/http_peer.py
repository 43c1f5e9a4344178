"""A small HTTP/1.1 client that says exactly what it is told to, and an application that records.

Neither belongs to the product: what a test sends and sees must not pass through the code under
test. Both live in the test's own event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Fields = list[tuple[str, str]]
ANSWER_S = 20.0
"""A net under a hanging test, never a measure of speed."""


@dataclass
class Message:
    """A request or response: `first` is its first line, split; field names are lower-cased."""

    first: list[str]
    fields: Fields
    body: bytes = b""
    received_bytes: int = 0

    @property
    def status(self) -> int:
        return int(self.first[1])

    @property
    def method(self) -> str:
        return self.first[0]

    @property
    def target(self) -> str:
        return self.first[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def reason(self) -> str:
        return next(iter(self.all("x-narrowgate-reason")), "")


async def read_head(reader: asyncio.StreamReader) -> Message:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (s.partition(":") for s in lines)]
    return Message(first.split(" ", 2), fields)


async def read_body(
    reader: asyncio.StreamReader, message: Message, *, keep: bool = True, close: bool = False
) -> None:
    """The body of `message`; `close`: without framing it ends with the connection."""

    async def take(left: int) -> None:
        while left:
            data = await reader.readexactly(min(left, 65_536))
            left -= len(data)
            message.received_bytes += len(data)
            if keep:
                message.body += data

    if "chunked" in message.all("transfer-encoding"):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await take(size)
            await reader.readexactly(2)
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            message.fields.append((f"trailer:{name.lower()}", value.strip()))
    elif lengths := message.all("content-length"):
        await take(int(lengths[0]))
    elif close:
        message.body = await reader.read(-1)
        message.received_bytes = len(message.body)


class Client:
    """One connection to a gate."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None = None) -> Self:
        name = "gate" if tls is not None else None
        return cls(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=tls, server_hostname=name, limit=1 << 20
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Close so that the other side sees a reset, not an end."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def response(
        self, *, method: str = "GET", final: bool = True, keep: bool = True
    ) -> Message:
        """The next response; with `final`, interim ones are passed over."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                message = await read_head(self.reader)
                if message.status >= 200:
                    if method != "HEAD" and message.status not in (204, 304):
                        await read_body(self.reader, message, keep=keep, close=True)
                    return message
                if not final:
                    return message

    async def request(
        self,
        method: str,
        target: str,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        host: str = "callee",
    ) -> Message:
        await self.send(encode(method, target, fields, body, host=host))
        return await self.response(method=method)

    async def closed(self) -> bytes:
        """Wait until the other side closes; what it still sent."""
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self.reader.read(-1)
            except (ConnectionError, ssl.SSLError):
                return b""


def encode(
    method: str,
    target: str,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "callee",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def call(
    port: int,
    method: str,
    target: str,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "callee",
    tls: ssl.SSLContext | None = None,
) -> Message:
    """One request on a connection of its own."""
    async with await Client.open(port, tls) as client:
        return await client.request(method, target, fields, body, host=host)


Answer = Callable[[Message], Awaitable[bytes | None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def always_ok(_request: Message) -> bytes | None:
    return OK


@dataclass
class App:
    """A plain HTTP application. `answer` gives raw bytes, None breaks the connection off."""

    answer: Answer = always_ok
    keep_bodies: bool = True
    port: int = 0
    requests: list[Message] = field(default_factory=list)
    accepted: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    at_head: Callable[[Message, asyncio.StreamWriter], None] | None = None
    _server: asyncio.Server | None = None
    _open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def start(self, port: int = 0) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        for writer in self._open.values():
            writer.transport.abort()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await read_head(reader)
                if self.at_head is not None:
                    self.at_head(request, writer)
                await read_body(reader, request, keep=self.keep_bodies)
                self.requests.append(request)
                self.arrived.set()
                answer = await self.answer(request)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()

    def last(self) -> Message:
        return self.requests[-1]
