"""The HTTP/1.1 driver towards a destination: one connection, one exchange at a time.

Invariants: a connection is reusable only after a complete, unambiguous exchange; bytes that nobody
asked for close it (response splitting); the peer's identity is checked before the first byte of a
request is written, and again each time the connection is taken from the pool.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from math import inf
from typing import Final

from policy.reason import Reason
from sidecar.http.head import BY_LENGTH, UNFRAMED, Field, Limits, Refused, ResponseHead
from sidecar.http.http1 import BodyDecoder, HeadReader
from sidecar.http.intake import Intake
from sidecar.identity.peer import Peer
from sidecar.net.deadlines import NEVER, Deadlines
from sidecar.net.link import Link
from sidecar.net.tls import TlsFailure

Admit = Callable[[bytes | None], Peer]
UNREACHABLE: Final = Reason.DESTINATION_UNREACHABLE
FINAL: Final = 200
"""The first status of a final response (RFC 9110 section 15)."""


class ClientConnection(Link):
    """A connection to an application, another gate or the authority."""

    def __init__(
        self,
        deadlines: Deadlines,
        limits: Limits,
        context: ssl.SSLContext | None = None,
        admit: Admit | None = None,
    ) -> None:
        super().__init__(deadlines, context, server_side=False)
        self._limits = limits
        self._admit = admit
        self.peer: Peer | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_lost: Callable[[ClientConnection], None] | None = None
        self.answered = False
        self.reused = False
        self.key: object = None
        self.address = ""
        self.good_until_s = inf
        self._buffer = bytearray()
        self._reader = HeadReader(limits)
        self._method = ""
        self._busy = False
        self._keep = True
        self._head: asyncio.Future[ResponseHead] | None = None
        self._early: ResponseHead | None = None
        self._intake: Intake | None = None
        self._fault: Refused | None = None

    # Link events

    def opened(self) -> None:
        """Pin the peer's identity, then let the request be written."""
        if self._admit is not None:
            try:
                self.peer = self._admit(self.peer_certificate())
            except (ValueError, Refused):  # an SvidError, or a key that no SVID has
                self._unready(Reason.DESTINATION_IDENTITY, "not the expected identity")
                self.close()
                return
        self.deadline_s = NEVER
        if not self.ready.done():
            self.ready.set_result(None)

    def refused(self, failure: TlsFailure) -> None:
        """The handshake failed, or a record was broken."""
        self._unready(Reason.DESTINATION_IDENTITY, str(failure))
        self._fail(Refused(Reason.DESTINATION_RESET, str(failure)))

    def received(self, data: bytes) -> None:
        """Feed the answer that is awaited; anything else is a reason to close."""
        if not self._busy:
            self.abort()
            return
        self.answered = True
        if self._intake is not None:
            if self._intake.feed(data):
                self._keep = False
            self._settle()
            return
        self._buffer += data
        self._parse()

    def ended(self) -> None:
        """The peer sends no more."""
        self._keep = False
        if self._intake is not None:
            self._intake.eof()
            self._settle()
        self.close()

    def cut(self) -> None:
        """TCP ended without TLS's close_notify: a body framed by closing is not complete."""
        self._fail(Refused(Reason.DESTINATION_RESET, "closed without close_notify"))
        self.abort()

    def lost(self) -> None:
        """Tell the pool and whoever waits."""
        self._unready(UNREACHABLE, "closed during the handshake")
        self._fail(Refused(Reason.DESTINATION_RESET, "the connection broke"))
        if self.when_lost is not None:
            self.when_lost(self)

    def expire(self) -> None:
        """Too slow; or idle for so long that it is not kept."""
        if self.reusable and self.ready.done():
            self.close()
            return
        self._unready(UNREACHABLE, "the handshake took too long")
        self._fail(Refused(Reason.DESTINATION_TIMEOUT, "no answer in time"))
        self.abort()

    # For the pool

    @property
    def reusable(self) -> bool:
        """Idle, whole and unambiguous."""
        return not (self._busy or self.closed or self._buffer) and self._keep

    # One exchange

    def begin(self, method: str, data: bytes, deadline_s: float) -> None:
        """Write a request head (and what is there of its body) and await its response."""
        self._busy = True
        self._method = method
        self._intake = None
        self._early = None
        self._fault = None
        self.answered = False
        self.deadline_s = deadline_s
        self.write(data)

    async def response(self) -> ResponseHead:
        """The next response head, 1xx ones too. Raises `Refused`."""
        early, self._early = self._early, None
        if early is not None:
            self._parse_more(early)
            return early
        if self._fault is not None:
            raise self._fault
        if self.closed:
            raise Refused(Reason.DESTINATION_RESET, "the connection broke")
        self._head = asyncio.get_running_loop().create_future()
        try:
            head = await self._head
        finally:
            self._head = None
        self._early = None
        self._parse_more(head)
        return head

    @property
    def complete(self) -> bool:
        """The whole response has been received."""
        return self._intake is not None and self._intake.complete

    @property
    def waiting(self) -> bool:
        """Response body bytes wait to be taken."""
        return self._intake is not None and self._intake.waiting

    @property
    def answering(self) -> bool:
        """The final response head has come."""
        return self._intake is not None

    @property
    def trailers(self) -> list[Field]:
        """The response's trailer fields."""
        return [] if self._intake is None else self._intake.trailers

    def take(self) -> bytes:
        """The response body bytes that are here now."""
        return b"" if self._intake is None else self._intake.take()

    async def read(self, before_waiting: Callable[[], None] | None = None) -> bytes:
        """The next response body bytes, `b""` at the end. Raises `Refused`, `Reset`."""
        return b"" if self._intake is None else await self._intake.read(before_waiting)

    def break_off(self, fault: Refused) -> None:
        """The request cannot be completed: whoever awaits the response gets `fault`."""
        self._fail(fault)
        self.abort()

    def end(self) -> None:
        """The exchange is over; an unfinished one closes the connection."""
        if self._busy:
            self.abort()
        self.close()

    # Inside

    def _parse(self) -> None:
        if self._early is not None:
            return
        try:
            parsed = self._reader.response(self._buffer, request_method=self._method)
            if parsed is None:
                return
            head, used = parsed
            del self._buffer[:used]
            if head.status >= FINAL:
                self._receive_body(head)
        except Refused as refused:
            self._fail(refused)
            self.abort()
            return
        self._early = head
        if self._head is not None and not self._head.done():
            self._head.set_result(head)

    def _receive_body(self, head: ResponseHead) -> None:
        self._keep = self._keep and head.keep_alive
        rest, self._buffer = bytes(self._buffer), bytearray()
        bound = self._limits.body_bytes_max
        if head.framing is BY_LENGTH and len(rest) == head.length and bound is None:
            self._intake = Intake(self, None, rest)
        else:
            decoder = None
            if head.framing is not UNFRAMED:
                decoder = BodyDecoder(head.framing, head.length, self._limits, response=True)
            self._intake = Intake(self, decoder)
            if rest and self._intake.feed(rest):
                self._keep = False
        self._settle()

    def _parse_more(self, head: ResponseHead) -> None:
        """After an interim head was taken, the next may wait in the buffer already."""
        if head.status < FINAL and self._buffer:
            self._parse()

    def _settle(self) -> None:
        if self._intake is not None and self._intake.complete:
            self._busy = False
            self.deadline_s = NEVER

    def _unready(self, reason: Reason, detail: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(Refused(reason, detail))
            self.ready.exception()  # retrieved here too: the one who waits may be gone

    def _fail(self, fault: Refused) -> None:
        """The first fault is the one that is told; it ends no body well, however it is framed."""
        if self._busy and self._fault is None:
            self._fault = fault
        if self._head is not None and not self._head.done():
            self._head.set_exception(fault)
        if self._intake is not None:
            self._intake.fail(fault)
        self._busy = False
