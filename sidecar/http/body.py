"""Take a message body off the wire: bytes in, body pieces out.

Role: RFC 9112 section 6.3 (length) and section 7.1 (chunked), sans-io.
Invariants: a body is done or refused, never both; chunk extensions are dropped; a trailer that
could act as a header field (framing, identity, routing, authentication) is dropped; everything
that is kept between two feeds is bounded.
"""

from __future__ import annotations

import re
from typing import Final

from policy.reason import Reason
from sidecar.http.fields import LENGTH_MAX
from sidecar.http.grammar import (
    TCHAR,
    TOKEN,
    WHITE,
    line_breaks_are_strict,
    trailer_is_dropped,
)
from sidecar.http.head import BY_CHUNKS, BY_CLOSE, BY_LENGTH, Field, Framing, Limits, Refused

# RFC 9112 section 7.1.1: chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted ) ] )
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION: Final = (
    rb"[\t ]*+;[\t ]*+["
    + TCHAR
    + rb"]++(?:[\t ]*+=[\t ]*+(?:["
    + TCHAR
    + rb"]++|"
    + _QUOTED
    + rb"))?+"
)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + _EXTENSION + rb")*+)")
_CHUNK_LINE_PART: Final = re.compile(
    rb"[0-9A-Fa-f]{1,16}(?:[\t ]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?+)?+\r?"
)


_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_SIZE_DIGITS_MAX: Final = 16

# What is awaited next. Plain integers, because an Enum member costs too much here.
_SIZE: Final = 0  # a chunk line
_DATA: Final = 1  # the rest of a chunk
_DATA_END: Final = 2  # the CRLF after a chunk
_TRAILERS: Final = 3
_LENGTH: Final = 4  # the rest of a body of known length
_CLOSE: Final = 5  # the end of the stream
_DONE: Final = 6


class BodyDecoder:
    """Decodes one body. Feed it until `done`; what came after the message is in `rest`.

    `response=True` turns every reason into one that blames the destination. `trailers` holds the
    trailer fields that may be forwarded (lower-case names), complete once `done`.
    """

    __slots__ = (
        "_extension_bytes",
        "_left",
        "_limits",
        "_pending",
        "_response",
        "_state",
        "_total",
        "_trailer_bytes",
        "_trailer_count",
        "done",
        "rest",
        "trailers",
    )

    def __init__(
        self, framing: Framing, length: int, limits: Limits, *, response: bool = False
    ) -> None:
        self._limits = limits
        self._response = response
        self._left = length if framing is BY_LENGTH else 0  # bytes still to come
        self._pending = b""  # an incomplete chunk line or trailer line
        self._total = 0  # body bytes seen
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._trailer_count = 0
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []
        if framing is BY_CHUNKS:
            self._state = _SIZE
        elif framing is BY_CLOSE:
            self._state = _CLOSE
        else:
            self._state = _LENGTH
            self._count(self._left)
            if not self._left:
                self._finish(b"")

    def feed(self, data: bytes) -> list[bytes]:
        """Return the body pieces in `data`, without copying where one piece is all of it.

        Raises Refused: MALFORMED, BODY_TOO_LARGE (DESTINATION_MALFORMED for a response).
        """
        if not data:
            return []
        state = self._state
        if state == _LENGTH:
            return self._feed_length(data)
        if state == _DONE:
            self.rest += data
            return []
        if state == _CLOSE:
            self._count(len(data))
            return [data]
        return self._feed_chunked(data)

    def eof(self) -> None:
        """The stream ended. Raises Refused (BODY_TRUNCATED) unless that completes the body."""
        if self._state == _CLOSE:
            self._finish(b"")
        elif self._state != _DONE:
            reason = Reason.DESTINATION_RESET if self._response else Reason.BODY_TRUNCATED
            raise Refused(reason, "the stream ended inside the body (RFC 9112 8)")

    def _feed_length(self, data: bytes) -> list[bytes]:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return [data]
        if len(data) == left:
            self._finish(b"")
            return [data]
        self._finish(data[left:])
        return [data[:left]]

    def _feed_chunked(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while position < size and self._state != _DONE:
            if self._state == _DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                position = self._feed_data_end(data, position)
            elif self._state == _SIZE:
                position = self._feed_size(data, position)
            else:
                position = self._feed_trailers(data, position)
        return pieces

    def _feed_data_end(self, data: bytes, position: int) -> int:
        """Every chunk ends with exactly CRLF (RFC 9112 section 7.1)."""
        end = self._pending + data[position : position + 2 - len(self._pending)]
        if not b"\r\n".startswith(end):
            raise self._malformed("a chunk does not end with CRLF (RFC 9112 7.1)")
        position += len(end) - len(self._pending)
        if len(end) == 1:
            self._pending = end
        else:
            self._pending = b""
            self._state = _SIZE
        return position

    def _feed_size(self, data: bytes, position: int) -> int:
        line, position = self._take_line(data, position, self._limits.chunk_line_bytes_max)
        if line is None:
            if _CHUNK_LINE_PART.fullmatch(self._pending) is None:
                raise self._malformed("a chunk line is malformed (RFC 9112 7.1)")
            return position
        if 0 < len(line) <= _SIZE_DIGITS_MAX and not line.translate(None, _HEX_DIGITS):
            self._left = int(line, 16)
        else:
            self._left = self._read_extended(line)
        if self._left > LENGTH_MAX:
            raise self._malformed("a chunk size is over the bound")
        self._count(self._left)
        self._state = _DATA if self._left else _TRAILERS
        return position

    def _read_extended(self, line: bytes) -> int:
        """Return the size in a chunk line with extensions, which are checked and dropped."""
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise self._malformed("a chunk line is malformed (RFC 9112 7.1)")
        self._extension_bytes += len(found[2])
        if self._extension_bytes > self._limits.extension_bytes_max:
            raise self._malformed("the chunk extensions are over their bound")
        return int(found[1], 16)

    def _feed_trailers(self, data: bytes, position: int) -> int:
        bound = self._limits.trailer_bytes_max - self._trailer_bytes
        line, position = self._take_line(data, position, bound)
        if line is None:
            part = self._pending.removesuffix(b"\r")
            if not line_breaks_are_strict(part, 1):
                raise self._malformed("a bare CR, a bare LF or a control (RFC 9112 2.2)")
            return position
        if not line:
            self._finish(data[position:])
            return len(data)
        self._trailer_bytes += len(line) + 2
        self._read_trailer(line)
        return position

    def _read_trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        self._trailer_count += 1
        if not colon or TOKEN.fullmatch(name) is None or not line_breaks_are_strict(value, 1):
            raise self._malformed("a trailer line is not a field (RFC 9112 7.1.2)")
        if self._trailer_count > self._limits.fields_max:
            raise self._malformed("more trailers than the bound")
        lower = name.lower()
        if not trailer_is_dropped(lower):
            self.trailers.append((lower, value.strip(WHITE)))

    def _take_line(self, data: bytes, position: int, bound: int) -> tuple[bytes | None, int]:
        """Return a line without its CRLF and where it ended; None and all pending when partial."""
        pending = self._pending
        if pending[-1:] == b"\r" and data[position : position + 1] == b"\n":
            line, end = pending[:-1], position + 1
        else:
            found = data.find(b"\r\n", position)
            if found < 0:
                self._pending = pending + data[position:]
                if len(self._pending) > bound + 1:
                    raise self._malformed("a chunk line or the trailers are over their bound")
                return None, len(data)
            line, end = pending + data[position:found], found + 2
        if len(line) > bound:
            raise self._malformed("a chunk line or the trailers are over their bound")
        self._pending = b""
        return line, end

    def _count(self, size: int) -> None:
        self._total += size
        bound = self._limits.body_bytes_max
        if bound is not None and self._total > bound:
            reason = Reason.DESTINATION_MALFORMED if self._response else Reason.BODY_TOO_LARGE
            raise Refused(reason, "the body is over its bound")

    def _finish(self, rest: bytes) -> None:
        self._state = _DONE
        self.done = True
        self.rest = rest

    def _malformed(self, detail: str) -> Refused:
        reason = Reason.DESTINATION_MALFORMED if self._response else Reason.MALFORMED
        return Refused(reason, detail)
