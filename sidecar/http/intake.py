"""The reading side of one message body on a link: decode, bound, wake the reader.

Invariants: at most `WAITING_BYTES_HIGH` (plus one read) wait here, then the link is paused; a
fault is raised to the reader once everything before it has been taken, and is never swallowed; a
body with a fault is never complete, whatever comes after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sidecar.http.head import Field, Refused
from sidecar.http.http1 import BodyDecoder
from sidecar.http.stream import Reset
from sidecar.net.link import Link

WAITING_BYTES_HIGH: Final = 262_144
_NO_TRAILERS: Final[list[Field]] = []


class Intake:
    """Body bytes on their way from a codec to whoever reads them."""

    __slots__ = ("_chunks", "_decoder", "_fault", "_link", "_wait", "_waiter", "received_bytes")

    def __init__(self, link: Link, decoder: BodyDecoder | None, whole: bytes = b"") -> None:
        """`decoder` None: the body is `whole`, which is here already."""
        self._link = link
        self._decoder = decoder
        self._chunks: list[bytes] = [whole] if whole else []
        self._wait = 0
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self.received_bytes = 0

    @property
    def complete(self) -> bool:
        """The whole body has been received."""
        return self._fault is None and (self._decoder is None or self._decoder.done)

    @property
    def waiting(self) -> bool:
        """Bytes wait to be taken."""
        return bool(self._chunks)

    @property
    def trailers(self) -> list[Field]:
        """Trailer fields of a complete body."""
        return _NO_TRAILERS if self._decoder is None else self._decoder.trailers

    def feed(self, data: bytes) -> bytes:
        """Decode `data`; return what belongs to the next message."""
        decoder = self._decoder
        if decoder is None or decoder.done:
            return data
        if self._fault is not None:
            return b""
        try:
            for chunk in decoder.feed(data):
                self._chunks.append(chunk)
                self._wait += len(chunk)
        except Refused as refused:
            self.fail(refused)
            return b""
        if self._wait > WAITING_BYTES_HIGH:
            self._link.pause()
        self._wake()
        return decoder.rest if decoder.done else b""

    def eof(self) -> None:
        """The peer ended well: a body framed by closing is complete, any other is broken."""
        decoder = self._decoder
        if decoder is None or decoder.done or self._fault is not None:
            return
        try:
            decoder.eof()
        except Refused as refused:
            self.fail(refused)
        self._wake()

    def fail(self, fault: Exception) -> None:
        """No more will come; whoever reads learns why. A complete body stays complete."""
        if not self.complete and self._fault is None:
            self._fault = fault
        self._wake()

    def take(self) -> bytes:
        """What is here now."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._wait = 0
        self.received_bytes += len(data)
        self._link.resume()
        return data

    async def read(self, before_waiting: Callable[[], None] | None = None) -> bytes:
        """The next bytes, `b""` at the end. Raises what `fail` was given."""
        while True:
            if data := self.take():
                return data
            if self._fault is not None:
                raise self._fault
            if self.complete:
                return b""
            if before_waiting is not None:
                before_waiting()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def lost(self) -> None:
        """The connection is gone, which ends no body well."""
        self.fail(Reset("the connection is gone"))

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
