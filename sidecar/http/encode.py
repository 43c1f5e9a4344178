"""Write HTTP/1.1 heads and chunks. The last check before bytes leave the process.

Role: RFC 9112 sections 3, 4, 6 and 7 for the sending side.
Invariants: at most one framing, derived from the arguments and never from a field; nothing that
is passed in can start a new line or a new message; a mistake is a ValueError, never other bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from operator import itemgetter
from typing import Final

from sidecar.http.grammar import (
    FRAMING_NAMES,
    HOP_NAMES,
    REQUEST_NAMES,
    SINGLE_NAMES,
    TOKEN,
    line_breaks_are_strict,
    trailer_is_dropped,
)
from sidecar.http.head import BY_CHUNKS, BY_CLOSE, BY_LENGTH, UNFRAMED, Field, Framing

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_TARGET_BYTES: Final = bytes(set(range(0x21, 0x7F)) - {0x23})
_AUTHORITY_BYTES: Final = bytes(
    byte for byte in range(0x21, 0x7F) if chr(byte).isalnum() or chr(byte) in "-._:[]"
)
_BODY_EXPECTED: Final = frozenset({"POST", "PUT", "PATCH"})
_DERIVED: Final = FRAMING_NAMES | HOP_NAMES | {b"expect"}
_METHODS: Final = {
    name: name.encode() for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_NAME: Final = itemgetter(0)
_KNOWN_MAX: Final = 2048
_KNOWN_NAME_BYTES_MAX: Final = 64
_known: Final = {*REQUEST_NAMES.plain.values(), *SINGLE_NAMES} - _DERIVED  # names known to be fit
_STATUS_LINES: Final = {
    (status.value, status.phrase.encode()): b"HTTP/1.1 %d %b"
    % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
_STATUS_MIN: Final = 100  # RFC 9110 section 15
_STATUS_MAX: Final = 599
_FINAL: Final = 200
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304


def encode_request(
    method: str,
    target: bytes,
    authority: bytes,
    fields: Iterable[Field],
    framing: Framing,
    length: int,
    *,
    keep_alive: bool = True,
) -> bytes:
    """Return a request head. `target` is in origin-form, or `*`.

    A method that expects a body gets `content-length: 0` when it has none (RFC 9110 section 8.6).
    Raises ValueError for anything that would not be one well-formed head.
    """
    if target.translate(None, _TARGET_BYTES) or (target[:1] != b"/" and target != b"*"):
        raise ValueError("the target is not fit for the wire")
    if authority.translate(None, _AUTHORITY_BYTES):
        raise ValueError("the authority is not fit for the wire")
    if framing is BY_CLOSE:
        raise ValueError("a request cannot end with its connection (RFC 9112 6.3)")
    if framing is UNFRAMED and method in _BODY_EXPECTED:
        framing, length = BY_LENGTH, 0
    raw = _METHODS.get(method) or _method(method)
    lines = [b"%b %b HTTP/1.1" % (raw, target), b"host: " + authority]
    _add_fields(lines, fields)
    _add_framing(lines, framing, length)
    if not keep_alive:
        lines.append(b"connection: close")
    return _join(lines)


def encode_response(
    status: int,
    phrase: bytes,
    fields: Iterable[Field],
    framing: Framing,
    length: int,
    keep_alive: bool,
    head_request: bool,
) -> bytes:
    """Return a response head that frames exactly what follows it.

    NONE means that no body follows: 1xx and 204 say nothing of a length; 304 and answers to HEAD
    announce `length` unless it is negative; others say `content-length: 0`. With CLOSE the
    connection has to close. Raises ValueError for anything that is not one well-formed head.
    """
    line = _STATUS_LINES.get((status, phrase))
    if line is None:
        if not _STATUS_MIN <= status <= _STATUS_MAX:
            raise ValueError("the status is out of range")
        line = b"HTTP/1.1 %d %b" % (status, phrase)
    lines = [line]
    _add_fields(lines, fields)
    if status < _FINAL or status == _NO_CONTENT:
        if framing is not UNFRAMED:
            raise ValueError("this status has no body (RFC 9112 6.3)")
    elif framing is not UNFRAMED:
        if status == _NOT_MODIFIED and framing is not BY_LENGTH:
            raise ValueError("304 has no body (RFC 9112 6.3)")
        _add_framing(lines, framing, length)
    elif not (head_request or status == _NOT_MODIFIED):
        lines.append(b"content-length: 0")
    elif length >= 0:
        lines.append(b"content-length: %d" % length)
    if framing is BY_CLOSE and keep_alive:
        raise ValueError("a body that ends with the connection cannot keep it")
    if not keep_alive:
        lines.append(b"connection: close")
    return _join(lines)


def encode_chunk(data: bytes) -> bytes:
    """Return one chunk, nothing for no data: only `encode_last_chunk` ends a body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_last_chunk(trailers: Iterable[Field]) -> bytes:
    """Return the end of a chunked body (RFC 9112 section 7.1).

    Raises ValueError for a trailer that is not a field, or that no one may merge.
    """
    lines = [b"0"]
    for name, value in trailers:
        if trailer_is_dropped(name.lower()) or TOKEN.fullmatch(name) is None:
            raise ValueError("that trailer is not forwarded")
        lines.append(b"%b: %b" % (name, value))
    return _join(lines)


def _add_fields(lines: list[bytes], fields: Iterable[Field]) -> None:
    fields = list(fields)
    if not all(map(_known.__contains__, map(_NAME, fields))):
        for name, _ in fields:
            _check_name(name)
    lines += map(b": ".join, fields)


def _check_name(name: bytes) -> None:
    if TOKEN.fullmatch(name) is None or name.lower() in _DERIVED:
        raise ValueError("a field that is derived, or whose name is not a token")
    if len(_known) < _KNOWN_MAX and len(name) <= _KNOWN_NAME_BYTES_MAX:
        _known.add(name)


def _method(method: str) -> bytes:
    raw = method.encode("ascii")
    if TOKEN.fullmatch(raw) is None:
        raise ValueError("the method is not a token")
    return raw


def _add_framing(lines: list[bytes], framing: Framing, length: int) -> None:
    if framing is BY_LENGTH:
        if length < 0:
            raise ValueError("a body has no negative length")
        lines.append(b"content-length: %d" % length)
    elif framing is BY_CHUNKS:
        lines.append(b"transfer-encoding: chunked")


def _join(lines: list[bytes]) -> bytes:
    count = len(lines)
    lines += (b"", b"")
    head = b"\r\n".join(lines)
    if not line_breaks_are_strict(head, count + 2):
        raise ValueError("a CR, LF or control inside a head")
    return head
