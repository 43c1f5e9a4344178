"""The field section of a head: lines in, clean fields and what they say to this hop out.

Role: RFC 9112 section 5 (field syntax), section 6 (framing) and RFC 9110 section 7.6.1
(Connection), for requests and responses alike.
Invariants: no field that means something to this hop alone is among the clean fields; a message
whose length could be read in two ways is refused; nothing end-to-end can be stripped by the sender
through Connection.
"""

from __future__ import annotations

from typing import Final

from policy.reason import Reason
from sidecar.http.grammar import (
    FRAMING_NAMES,
    LINE_BYTES_REMEMBERED_MAX,
    PROTECTED_NAMES,
    SINGLE_NAMES,
    TOKEN,
    TOKEN_NAMES,
    VALUE_BYTES,
    WHITE,
    Names,
)
from sidecar.http.head import BY_CHUNKS, BY_LENGTH, UNFRAMED, Field, Framing, Limits, Refused

LENGTH_MAX: Final = 2**63 - 1
_LENGTH_DIGITS_MAX: Final = 19
_NO_FRAMING: Final = (UNFRAMED, 0)
_CHUNKED: Final = (BY_CHUNKS, 0)

Marks = dict[bytes, bytes]
"""What the special fields said: lower-case name to value, list fields joined by a comma."""


def read_fields(lines: list[bytes], names: Names, limits: Limits) -> tuple[list[Field], Marks]:
    """Read field lines (split at CRLF).

    A line that came before was judged then. Raises Refused: MALFORMED, DUPLICATE_FIELD,
    HEAD_TOO_LARGE.
    """
    if len(lines) > limits.fields_max:
        raise Refused(Reason.HEAD_TOO_LARGE, "more fields than the bound")
    fields: list[Field] = []
    marks: Marks = {}
    fresh: list[bytes] = []  # lines that have to be looked at byte by byte
    learn: list[bytes] = []  # those of them that may be remembered
    add = fields.append
    seen = names.lines.get
    plain = names.plain.get
    marked = names.marked.get
    for line in lines:
        field = seen(line)
        if field is not None:
            add(field)
            continue
        name, colon, value = line.partition(b":")
        lower = plain(name)
        if lower is not None and colon:
            add((lower, value.strip(WHITE)))
            fresh.append(line)
            if len(line) <= LINE_BYTES_REMEMBERED_MAX:
                learn.append(line)
            continue
        lower = marked(name)
        if lower is None or lower in marks or not colon:
            fresh.append(line)
            _read_unusual(line, names, fields, marks)
            continue
        marks[lower] = value = value.strip(WHITE)
        if lower not in TOKEN_NAMES or _breaks(line):
            fresh.append(line)
        if lower in SINGLE_NAMES:
            add((lower, value))
    if b"".join(fresh).translate(None, VALUE_BYTES):
        raise Refused(Reason.MALFORMED, "a bare CR, a bare LF or a control (RFC 9112 2.2)")
    if learn:
        names.remember(learn)
    return fields, marks


def _breaks(line: bytes) -> bool:
    """Whether a token's line could be read as two. Anything else that is wrong in a token its
    verification refuses, and no token is forwarded as it came."""
    return b"\r" in line or b"\n" in line or b"\0" in line


def check_field_sizes(lines: list[bytes], limits: Limits) -> None:
    """Raise Refused(HEAD_TOO_LARGE) when one line is over the bound of a field."""
    if lines and len(max(lines, key=len)) > limits.field_bytes_max:
        raise Refused(Reason.HEAD_TOO_LARGE, "a field over its bound")


def _read_unusual(line: bytes, names: Names, fields: list[Field], marks: Marks) -> None:
    """The cold half of the loop above."""
    name, colon, value = line.partition(b":")
    lower = names.look(name)
    if lower is None or not colon:
        raise Refused(Reason.MALFORMED, "a line is not a field (RFC 9112 5)")
    if not lower:
        return
    value = value.strip(WHITE)
    if lower not in names.special:
        fields.append((lower, value))
        return
    if lower not in marks:
        marks[lower] = value
    elif lower in names.single:
        raise Refused(Reason.DUPLICATE_FIELD, "a field that must be single came twice")
    else:
        marks[lower] = marks[lower] + b"," + value
    if lower in SINGLE_NAMES:
        fields.append((lower, value))


def read_framing(marks: Marks, minor: int) -> tuple[Framing, int]:
    """Return the framing that the fields declare, NONE when they declare none.

    RFC 9112 section 6.1 to 6.3. Raises Refused: MALFORMED, CODING_REFUSED.
    """
    coding = marks.get(b"transfer-encoding")
    length = marks.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Refused(Reason.MALFORMED, "both framings at once (RFC 9112 6.1)")
        if minor == 0:
            raise Refused(Reason.MALFORMED, "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)")
        if coding.lower() != b"chunked":
            raise _coding_refused(coding.lower())
        return _CHUNKED
    if length is None:
        return _NO_FRAMING
    if not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX or int(length) > LENGTH_MAX:
        raise Refused(Reason.MALFORMED, "Content-Length is not one size (RFC 9112 6.3)")
    return (BY_LENGTH, int(length))


def _coding_refused(coding: bytes) -> Refused:
    """Unknown codings are 501 (RFC 9112 6.1); a misplaced chunked is 400 (6.3, item 4)."""
    codings = [item.strip(WHITE) for item in coding.split(b",")]
    if codings.count(b"chunked") == 1 and codings[-1] == b"chunked" and all(codings):
        return Refused(Reason.CODING_REFUSED, "a transfer coding besides chunked")
    if b"chunked" in codings or not all(TOKEN.fullmatch(item) for item in codings):
        return Refused(Reason.MALFORMED, "chunked is not the one final coding (RFC 9112 6.3)")
    return Refused(Reason.CODING_REFUSED, "a transfer coding that is not chunked")


def connection_options(marks: Marks) -> frozenset[bytes]:
    """Return the options of Connection in lower case (RFC 9110 section 7.6.1).

    Raises Refused(MALFORMED) for what is not a token, or names a framing field.
    """
    value = marks.get(b"connection")
    if value is None:
        return frozenset()
    options = {item.strip(WHITE) for item in value.lower().split(b",")}
    options.discard(b"")
    if not all(map(TOKEN.fullmatch, options)):
        raise Refused(Reason.MALFORMED, "a Connection option is not a token (RFC 9110 7.6.1)")
    if not FRAMING_NAMES.isdisjoint(options):
        raise Refused(Reason.MALFORMED, "Connection names a framing field (RFC 9110 7.6.1)")
    return frozenset(options)


def without_listed(fields: list[Field], options: frozenset[bytes]) -> list[Field]:
    """Return the fields that Connection does not list.

    Raises Refused(MALFORMED) when that would strip an end-to-end field that came with the
    message: a sender may not have it both ways.
    """
    kept = [field for field in fields if field[0] not in options]
    if len(kept) != len(fields):
        for name, _ in fields:
            if name in options and name in PROTECTED_NAMES:
                raise Refused(Reason.MALFORMED, "Connection strips an end-to-end field")
    return kept


def upgrade_offer(marks: Marks, options: frozenset[bytes]) -> bytes:
    """Return the protocols offered by Upgrade in lower case, b"" when none counts.

    An Upgrade without the connection option is void (RFC 9110 section 7.8); h2c no longer exists
    (RFC 9113 section 3.1), so an offer of it is ignored.
    """
    if b"upgrade" not in options or b"upgrade" not in marks:
        return b""
    offers = [item.strip(WHITE) for item in marks[b"upgrade"].lower().split(b",")]
    return b", ".join(item for item in offers if item and item != b"h2c")
