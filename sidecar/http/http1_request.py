"""Read one HTTP/1.1 request head from bytes, or refuse it.

Role: RFC 9112 section 3 (the request line) and the rules that bind the fields of a request.
Invariants: sans-io and without state between calls; either the whole head is well-formed or
Refused is raised; what can never become a request is refused as soon as it is seen.
"""

from __future__ import annotations

import re
from typing import Final

from policy.reason import Reason
from sidecar.http.fields import (
    Marks,
    check_field_sizes,
    connection_options,
    read_fields,
    read_framing,
    upgrade_offer,
    without_listed,
)
from sidecar.http.grammar import REQUEST_NAMES, TCHAR, TOKEN, WHITE, line_breaks_are_strict
from sidecar.http.head import BY_CHUNKS, Limits, Refused, RequestHead
from sidecar.http.target import Target, parse_authority, parse_target

EMPTY_LINES_MAX: Final = 4  # before the request line (RFC 9112 section 2.2)
METHOD_BYTES_MAX: Final = 32

_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_METHODS_REFUSED: Final = frozenset({b"CONNECT", b"TRACE"})
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LINE_START: Final = re.compile(rb"[" + TCHAR + rb"]{1,%d}(?: |\Z)" % METHOD_BYTES_MAX)


def parse_request(buffer: bytearray | bytes, limits: Limits) -> tuple[RequestHead, int] | None:
    """Return the first request head of `buffer` and the bytes it took, None to wait for more.

    Raises Refused. For input that arrives in very small pieces use `HeadReader`, which does not
    look at the same bytes twice.
    """
    start = skip_empty_lines(buffer) if buffer[:1] == b"\r" else 0
    end = buffer.find(b"\r\n\r\n", start)
    if end < 0:
        check_request_part(buffer, start, start, limits)
        return None
    if end + 4 - start > limits.head_bytes_max:
        raise _too_large(buffer, start, limits)
    return _read_head(bytes(buffer[start:end]), limits), end + 4


def skip_empty_lines(buffer: bytearray | bytes) -> int:
    """Return where the request line starts (RFC 9112 section 2.2: a few CRLFs are ignored)."""
    start = 0
    while start < 2 * EMPTY_LINES_MAX and buffer.startswith(b"\r\n", start):
        start += 2
    return start


def check_request_part(buffer: bytearray | bytes, start: int, scanned: int, limits: Limits) -> None:
    """Refuse the incomplete head at `start` when it can no longer become a request head.

    Bytes before `scanned` were looked at before. Raises Refused.
    """
    if len(buffer) - start > limits.head_bytes_max:
        raise _too_large(buffer, start, limits)
    if bytes(buffer[start : start + 2]) in {b"", b"\r"}:
        return
    check_request_start(buffer, start)
    check_new_bytes(buffer, start, scanned)
    line_end = buffer.find(b"\r\n", start, start + limits.line_bytes_max + 2)
    if line_end < 0 and len(buffer) - start > limits.line_bytes_max + 1:
        raise Refused(Reason.TARGET_TOO_LONG, "the request line is over its bound")
    if line_end >= max(start, scanned - 1):  # it was not there before
        _read_line(bytes(buffer[start:line_end]), limits)


def check_request_start(buffer: bytearray | bytes, start: int) -> None:
    """Refuse what does not start as a request line does, such as a TLS ClientHello."""
    if _LINE_START.match(bytes(buffer[start : start + METHOD_BYTES_MAX + 1])) is None:
        raise Refused(Reason.MALFORMED, "this does not start with a method (RFC 9112 3)")


def check_new_bytes(buffer: bytearray | bytes, start: int, scanned: int) -> None:
    """Refuse bare CR, bare LF and controls among the bytes that were not scanned yet."""
    if scanned > start and buffer[scanned - 1 : scanned] == b"\r":
        scanned -= 1
    part = bytes(buffer[scanned:])
    if part[-1:] == b"\r":
        part = part[:-1]
    if not line_breaks_are_strict(part, part.count(b"\r\n") + 1):
        raise Refused(Reason.MALFORMED, "a bare CR, a bare LF or a control (RFC 9112 2.2)")


def _too_large(buffer: bytearray | bytes, start: int, limits: Limits) -> Refused:
    if buffer.find(b"\r\n", start, start + limits.line_bytes_max + 2) < 0:
        return Refused(Reason.TARGET_TOO_LONG, "the request line is over its bound")
    return Refused(Reason.HEAD_TOO_LARGE, "the head is over its bound")


def _read_head(head: bytes, limits: Limits) -> RequestHead:
    lines = head.split(b"\r\n")
    method, target, minor = _read_line(lines[0], limits)
    del lines[0]
    if len(head) > limits.field_bytes_max:
        check_field_sizes(lines, limits)
    fields, marks = read_fields(lines, REQUEST_NAMES, limits)
    host = marks.get(b"host")
    if host is None and minor == 1:
        raise Refused(Reason.MALFORMED, "no Host (RFC 9112 3.2)")
    authority = "" if host is None else parse_authority(host)
    if target.absolute:
        authority = target.authority  # it replaces Host (RFC 9112 section 3.2.2)
    framing, length = read_framing(marks, minor)
    if limits.body_bytes_max is not None and length > limits.body_bytes_max:
        raise Refused(Reason.BODY_TOO_LARGE, "Content-Length is over the bound of a body")
    request = RequestHead(
        method,
        target.wire,
        target.path,
        target.query,
        authority,
        fields,
        framing,
        length,
        minor,
        minor == 1,
    )
    request.absolute = target.absolute
    if len(marks) > 1:
        _heed(request, marks)
    return request


def _read_line(line: bytes, limits: Limits) -> tuple[str, Target, int]:
    """RFC 9112 section 3: method SP request-target SP HTTP-version, with one SP each."""
    if len(line) > limits.line_bytes_max:
        raise Refused(Reason.TARGET_TOO_LONG, "the request line is over its bound")
    raw_method, _, rest = line.partition(b" ")
    raw_target, _, version = rest.partition(b" ")
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    elif _VERSION.fullmatch(version):
        raise Refused(Reason.VERSION_REFUSED, "neither HTTP/1.1 nor HTTP/1.0")
    else:
        raise Refused(Reason.MALFORMED, "the version is malformed (RFC 9112 2.3)")
    method = _METHODS.get(raw_method) or _read_method(raw_method)
    return method, parse_target(method, raw_target), minor


def _read_method(method: bytes) -> str:
    if len(method) > METHOD_BYTES_MAX or TOKEN.fullmatch(method) is None:
        raise Refused(Reason.MALFORMED, "the method is not a token (RFC 9110 9.1)")
    if method in _METHODS_REFUSED:
        raise Refused(Reason.METHOD_REFUSED, "a tunnel or an echo never passes a gate")
    if method != method.upper():
        # Methods are case-sensitive (RFC 9110 9.1); an application that folds case is fooled.
        raise Refused(Reason.METHOD_REFUSED, "a method with lower-case letters")
    return method.decode("ascii")


def _heed(request: RequestHead, marks: Marks) -> None:
    """Take what the special fields say to this hop."""
    expect = marks.get(b"expect")
    if expect is not None and request.minor == 1:  # ignored in 1.0 (RFC 9110 section 10.1.1)
        if expect.lower() != b"100-continue":
            raise Refused(Reason.EXPECTATION_REFUSED, "not 100-continue (RFC 9110 10.1.1)")
        request.expect_continue = request.framing is BY_CHUNKS or request.length > 0
    if b"connection" in marks and marks[b"connection"] != b"keep-alive":
        options = connection_options(marks)
        request.fields = without_listed(request.fields, options)
        request.keep_alive = request.minor == 1 and b"close" not in options
        request.upgrade = upgrade_offer(marks, options)
    if b"te" in marks:
        codings = [item.strip(WHITE) for item in marks[b"te"].lower().split(b",")]
        request.trailers_accepted = b"trailers" in codings
    request.trailers_announced = b"trailer" in marks
