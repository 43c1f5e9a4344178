"""The types of an HTTP message head: what a codec hands to the path, whatever the wire version.

Role: the one vocabulary shared by the codecs, the driver and the path.
Invariants: a head exists only after the whole of it was judged well-formed; field names are lower
case; hop-by-hop fields, `host`, `expect` and the framing fields are never among `fields`, because
the encoder derives them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from policy.reason import Reason

Field = tuple[bytes, bytes]
"""`(name in lower case, value without surrounding white space)`."""


class Framing(Enum):
    """How the length of a body is known (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # responses only: the body ends with the connection


# The same by plain names: looking a member up in its class costs ten times a global.
UNFRAMED: Final = Framing.NONE
BY_LENGTH: Final = Framing.LENGTH
BY_CHUNKS: Final = Framing.CHUNKED
BY_CLOSE: Final = Framing.CLOSE


class Refused(Exception):
    """The bytes are not an acceptable message. Nothing of it may be forwarded.

    `reason` is what the peer may learn; `detail` is a fixed sentence for the logs that never
    contains bytes of the message (they may be secret).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason.label, detail)
        self.reason: Final = reason
        self.detail: Final = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one message. Every bound is inclusive; units are bytes or counts."""

    head_bytes_max: int = 65536
    line_bytes_max: int = 16384  # the request line or the status line, without CRLF
    fields_max: int = 128
    field_bytes_max: int = 16384  # one field line, without CRLF
    chunk_line_bytes_max: int = 256  # a chunk size with its extensions, without CRLF
    extension_bytes_max: int = 16384  # all chunk extensions of one body
    trailer_bytes_max: int = 8192  # all trailer lines with their CRLFs
    body_bytes_max: int | None = None  # None: unbounded (streamed)


@dataclass(slots=True)
class RequestHead:
    """One request head, parsed once.

    `target` is the origin-form (`/path?query`, or `*` for OPTIONS) exactly as it is forwarded;
    `path` and `query` are its two halves, undecoded, and are what policy sees. `authority` is
    the host (and port) in lower case, "" only for HTTP/1.0 without Host.
    `length` is the body size in bytes when `framing` is LENGTH, else 0.
    """

    method: str
    target: bytes
    path: str
    query: str
    authority: str
    fields: list[Field]
    framing: Framing = UNFRAMED
    length: int = 0
    minor: int = 1
    keep_alive: bool = True
    expect_continue: bool = False
    upgrade: bytes = b""  # offered protocols in lower case; h2c is ignored (RFC 9113 section 3.1)
    absolute: bool = False  # the target came in absolute-form: we were used as a proxy
    trailers_announced: bool = False  # a Trailer field came (RFC 9110 section 6.6.2)
    trailers_accepted: bool = False  # `TE: trailers` came (RFC 9110 section 10.1.4)

    def __repr__(self) -> str:
        """Name the request without its query and fields, which may be secret."""
        return f"<RequestHead {self.method} {self.authority}{self.path} {self.framing.value}>"


@dataclass(slots=True)
class ResponseHead:
    """One response head, parsed once.

    `length` is the body size in bytes when `framing` is LENGTH. For an answer that has no body
    although it may announce one (to HEAD, or 304) `framing` is NONE and `length` is the announced
    size, -1 when none was: the encoder announces it again (RFC 9110 section 8.6).
    """

    status: int
    phrase: bytes
    fields: list[Field] = field(default_factory=list)
    framing: Framing = UNFRAMED
    length: int = -1
    minor: int = 1
    keep_alive: bool = True
    upgrade: bytes = b""

    def __repr__(self) -> str:
        """Name the response without its fields."""
        return f"<ResponseHead {self.status} {self.framing.value}>"
