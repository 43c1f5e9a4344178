"""One HTTP/1.1 request and its response on a server connection: the stream that the path sees.

Invariants: the response is framed exactly once; what is buffered for the peer is bounded by the
link; an exchange that is not finished when it concludes resets the connection, so that the peer
never takes a truncated message for a whole one (RFC 9112 section 8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.http.head import (
    BY_CHUNKS,
    BY_CLOSE,
    BY_LENGTH,
    UNFRAMED,
    Field,
    Limits,
    RequestHead,
    ResponseHead,
)
from sidecar.http.http1 import (
    CONTINUE,
    BodyDecoder,
    encode_chunk,
    encode_last_chunk,
    encode_response,
)
from sidecar.http.intake import Intake
from sidecar.http.stream import Connection, Reset
from sidecar.net.link import Link

BODILESS: Final = frozenset({204, 304})
GATHER_BYTES_MAX: Final = 65_536
"""Written bytes are gathered up to this size, so that a small message is one write."""


class Exchange:
    """See `sidecar.http.stream.Stream`."""

    __slots__ = (
        "_finished",
        "_framing",
        "_gone",
        "_left",
        "_link",
        "_out",
        "_owes_continue",
        "_when_gone",
        "connection",
        "draining",
        "head",
        "intake",
        "reusable",
        "sent_bytes",
        "started",
    )

    def __init__(
        self,
        link: Link,
        head: RequestHead,
        connection: Connection,
        limits: Limits,
        *,
        draining: bool,
        whole: bytes = b"",
    ) -> None:
        """`whole` is the body, when all of it came with the head."""
        self._link = link
        self.head = head
        self.connection = connection
        decoder = None
        if head.framing is not UNFRAMED and not whole:
            decoder = BodyDecoder(head.framing, head.length, limits)
        self.intake = Intake(link, decoder, whole)
        self.draining = draining
        self.started = False
        self.reusable = False
        self.sent_bytes = 0
        self._when_gone: Callable[[], None] | None = None
        self._gone = False
        self._owes_continue = head.expect_continue
        self._finished = False
        self._framing = UNFRAMED
        self._left = 0
        self._out = bytearray()

    # The request

    @property
    def complete(self) -> bool:
        """The whole request body has been received."""
        return self.intake.complete

    @property
    def trailers(self) -> list[Field]:
        """The request's trailer fields."""
        return self.intake.trailers

    @property
    def received_bytes(self) -> int:
        """Request body bytes taken so far."""
        return self.intake.received_bytes

    def take(self) -> bytes:
        """The request body bytes that are here now."""
        return self.intake.take()

    async def read(self) -> bytes:
        """The next request body bytes; asks for them when the client waits to be asked."""
        if self._owes_continue and not self.started:
            self._owes_continue = False
            if self.head.minor and not self.intake.complete:
                self._link.write(CONTINUE)
        return await self.intake.read()

    # The response

    @property
    def blocked(self) -> bool:
        """The peer reads slower than we write."""
        return self._link.blocked

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx response, to clients that know them (RFC 9110 section 15.2)."""
        if self.head.minor and not self.started:
            self._link.write(
                encode_response(
                    head.status,
                    head.phrase,
                    head.fields,
                    UNFRAMED,
                    -1,
                    keep_alive=True,
                    head_request=False,
                )
            )

    def start(self, head: ResponseHead) -> None:
        """Begin the final response, framed for this client."""
        if self.started:
            raise RuntimeError("a response begins once")
        self.started = True
        framing = head.framing
        if self.head.method == "HEAD" or head.status in BODILESS:
            framing = UNFRAMED
        if framing in (BY_CLOSE, BY_CHUNKS):
            framing = BY_CHUNKS if self.head.minor else BY_CLOSE
        self._framing = framing
        self._left = head.length if framing is BY_LENGTH else 0
        keep = self.head.keep_alive and not self.draining and framing is not BY_CLOSE
        self.reusable = keep and self.intake.complete
        self._out += encode_response(
            head.status,
            head.phrase,
            head.fields,
            framing,
            head.length,
            keep_alive=self.reusable,
            head_request=self.head.method == "HEAD",
        )

    def write(self, chunk: bytes) -> None:
        """Add response body bytes."""
        if self._framing is UNFRAMED:
            return  # the answer to HEAD has the fields of one with a body, and none
        self.sent_bytes += len(chunk)
        if self._framing is BY_CHUNKS:
            self._out += encode_chunk(chunk)
        elif self._framing is BY_LENGTH:
            self._left -= len(chunk)
            if self._left < 0:
                raise RuntimeError("a body is longer than its head announced")
            self._out += chunk
        else:
            self._out += chunk
        if len(self._out) > GATHER_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what was written so far."""
        if self._out:
            self._link.write(bytes(self._out))
            self._out.clear()

    def finish(self, trailers: list[Field]) -> None:
        """End the response and send it."""
        if not self.started:
            raise RuntimeError("a response that did not begin cannot end")
        if self._left:
            raise RuntimeError("a body is shorter than its head announced")
        if self._framing is BY_CHUNKS:
            self._out += encode_last_chunk(trailers)
        self.flush()
        self._finished = True

    async def drain(self) -> None:
        """Wait until the peer has taken enough."""
        await self._link.drain()
        if self._link.closed:
            raise Reset("the caller is gone")

    def reset(self) -> None:
        """Give up."""
        self._out.clear()
        self._link.abort()

    @property
    def when_gone(self) -> Callable[[], None] | None:
        """Called when the peer is lost before its answer is finished; at once if it is already."""
        return self._when_gone

    @when_gone.setter
    def when_gone(self, callback: Callable[[], None] | None) -> None:
        self._when_gone = callback
        if self._gone and callback is not None:
            callback()

    # For the connection

    @property
    def deadline_s(self) -> float:
        """When this exchange has to be over, loop seconds."""
        return self._link.deadline_s

    @deadline_s.setter
    def deadline_s(self, deadline_s: float) -> None:
        self._link.deadline_s = deadline_s

    def expire(self) -> None:
        """The exchange took too long: whoever forwards it is told by the lost connection."""
        self.reset()

    def gone(self) -> None:
        """The connection is lost: stop reading, and stop what goes on for it."""
        self._gone = not self._finished
        self.intake.lost()
        if self._gone and self._when_gone is not None:
            self._when_gone()

    def conclude(self) -> None:
        """The path is done with this exchange."""
        self._when_gone = None
        if not self._finished:
            self.reusable = False
            self._link.abort()
