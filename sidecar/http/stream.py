"""The stream: what the request path sees of one request and its response, on any wire version.

Invariants: the response's framing is the driver's business; `reset()` never looks like a
well-formed end to the peer; a body is bounded while it waits (back-pressure), never buffered whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sidecar.http.head import Field, RequestHead, ResponseHead
from sidecar.identity.peer import Peer


class Reset(Exception):
    """The stream ended before its message was complete; nothing more can be read or written."""


class Connection(NamedTuple):
    """Facts of the connection that a stream came on: `peer` is None where none is required."""

    peer: Peer | None
    address: tuple[str, int]
    local_address: tuple[str, int]
    secure: bool


class Source(Protocol):
    """The reading side of a message body."""

    @property
    def complete(self) -> bool:
        """The whole body has been received (it may still wait to be taken)."""
        ...

    @property
    def trailers(self) -> list[Field]:
        """Trailer fields; meaningful once `complete`."""
        ...

    def take(self) -> bytes:
        """The body bytes that are here now, maybe none; never waits."""
        ...

    async def read(self) -> bytes:
        """The next body bytes; `b""` at the end. Raises `Reset`, `Refused`."""
        ...


class Sink(Protocol):
    """The writing side of a message body."""

    @property
    def blocked(self) -> bool:
        """More is waiting to be sent than the bound allows: `drain()` before writing on."""
        ...

    def write(self, chunk: bytes) -> None:
        """Add body bytes."""
        ...

    def finish(self, trailers: list[Field]) -> None:
        """End the body and send everything."""
        ...

    def flush(self) -> None:
        """Send what was written so far."""
        ...

    async def drain(self) -> None:
        """Wait until the peer has taken enough. Raises `Reset`."""
        ...


class Stream(Source, Sink, Protocol):
    """One request, as the gate that received it sees it."""

    head: RequestHead
    connection: Connection
    started: bool
    sent_bytes: int
    deadline_s: float
    when_gone: Callable[[], None] | None

    @property
    def received_bytes(self) -> int:
        """Request body bytes taken so far."""
        ...

    def start(self, head: ResponseHead) -> None:
        """Begin the final response."""
        ...

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx response (RFC 9110 section 15.2), where the version knows them."""
        ...

    def reset(self) -> None:
        """Give up: the peer sees that the message is incomplete."""
        ...
