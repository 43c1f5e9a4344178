"""Relay one permitted request to a connection and its response back, both ways at once.

Invariants: nothing is buffered whole; a 101 is never passed on; when either side breaks, the other
sees a reset and never a well-formed end; a connection is left reusable only after both messages
were complete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from policy.call import Field
from policy.reason import Reason
from sidecar.http.client import FINAL, ClientConnection
from sidecar.http.head import BY_CHUNKS, Refused, ResponseHead
from sidecar.http.http1 import encode_chunk, encode_last_chunk
from sidecar.http.stream import Reset, Stream
from sidecar.net.deadlines import NEVER

CONTINUE: Final = 100
SWITCHING_PROTOCOLS: Final = 101
INTERIM_MAX: Final = 16

log = logging.getLogger("narrowgate.relay")


class Relay:
    """One exchange between a stream and an upstream connection."""

    __slots__ = ("_chunked", "_first_byte_s", "_idle_s", "_now_s", "_stream", "_upstream", "status")

    def __init__(
        self,
        stream: Stream,
        upstream: ClientConnection,
        now_s: Callable[[], float],
        *,
        first_byte_s: float,
        idle_s: float,
    ) -> None:
        """`now_s` is loop time; the two bounds are seconds of silence of the destination."""
        self._stream = stream
        self._upstream = upstream
        self._now_s = now_s
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._chunked = stream.head.framing is BY_CHUNKS
        self.status = 0

    async def run(self, head: bytes, prefix: bytes, edit: Callable[[ResponseHead], None]) -> None:
        """Send `head`, `prefix` (body bytes taken before) and the rest; relay the answer.

        `edit` may change the response's fields before they are sent.

        Raises:
            Refused: the destination failed before its response began.
            Reset: either side broke off later; both are closed.
        """
        stream, upstream = self._stream, self._upstream
        data = head + self._framed(prefix) if prefix else head
        pump: asyncio.Task[None] | None = None
        stream.when_gone = upstream.abort
        if stream.complete:
            data += self._framed(stream.take()) + self._end()
            upstream.begin(stream.head.method, data, self._now_s() + self._first_byte_s)
        else:
            upstream.begin(stream.head.method, data, stream.deadline_s)
            pump = asyncio.get_running_loop().create_task(self._upload())
        try:
            await self._respond(edit)
        finally:
            stream.when_gone = None
            if pump is not None and not pump.done():
                pump.cancel()
                upstream.abort()
            if not upstream.complete:
                upstream.abort()

    def _framed(self, data: bytes) -> bytes:
        return encode_chunk(data) if self._chunked else data

    def _end(self) -> bytes:
        return encode_last_chunk(self._stream.trailers) if self._chunked else b""

    async def _upload(self) -> None:
        stream, upstream = self._stream, self._upstream
        try:
            while chunk := await stream.read():
                upstream.write(self._framed(chunk))
                if upstream.blocked:
                    await upstream.drain()
            upstream.write(self._end())
            if upstream.answering:
                return
            upstream.deadline_s = self._now_s() + self._first_byte_s
        except Refused as refused:
            upstream.break_off(refused)
        except Reset:
            upstream.break_off(Refused(Reason.BODY_TRUNCATED, "the caller broke off its body"))
        except Exception:
            log.exception("an upload failed; its request is broken off")
            upstream.break_off(Refused(Reason.INTERNAL, "the upload failed"))

    async def _respond(self, edit: Callable[[ResponseHead], None]) -> None:
        head = await self._final_head()
        edit(head)
        self.status = head.status
        stream, upstream = self._stream, self._upstream
        upstream.deadline_s = NEVER  # a slow caller is not a silent destination
        stream.start(head)
        try:
            while not upstream.complete or upstream.waiting:
                chunk = upstream.take()
                if not chunk:
                    stream.flush()
                    upstream.deadline_s = self._now_s() + self._idle_s
                    chunk = await upstream.read()
                    upstream.deadline_s = NEVER
                    if not chunk:
                        break
                stream.write(chunk)
                if stream.blocked:
                    await stream.drain()
        except Refused as refused:
            stream.reset()
            raise Reset(refused.detail) from None
        stream.finish(_trailers(head, upstream))

    async def _final_head(self) -> ResponseHead:
        for _ in range(INTERIM_MAX):
            head = await self._upstream.response()
            if head.status >= FINAL:
                return head
            if head.status == SWITCHING_PROTOCOLS:
                raise Refused(Reason.DESTINATION_MALFORMED, "101 for a request without Upgrade")
            if head.status != CONTINUE:  # that is answered on this side, when the body is read
                self._stream.interim(head)
        raise Refused(Reason.DESTINATION_MALFORMED, "too many interim responses")


def _trailers(head: ResponseHead, upstream: ClientConnection) -> list[Field]:
    return upstream.trailers if head.framing is BY_CHUNKS else []
