"""Read one HTTP/1.1 response head from bytes, or refuse it.

Role: RFC 9112 section 4 (the status line) and section 6.3 (the length of a response).
Invariants: every refusal is DESTINATION_MALFORMED, because here the far side is at fault; what
follows an answer without a body is never taken for its body.
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
from sidecar.http.grammar import RESPONSE_NAMES
from sidecar.http.head import (
    BY_CHUNKS,
    BY_CLOSE,
    BY_LENGTH,
    UNFRAMED,
    Limits,
    Refused,
    ResponseHead,
)
from sidecar.http.http1_request import check_new_bytes

_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)"  # RFC 9112 section 4
)
_LINE_START: Final = b"HTTP/1."
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304
_FINAL: Final = 200


def parse_response(
    buffer: bytearray | bytes, limits: Limits, *, request_method: str
) -> tuple[ResponseHead, int] | None:
    """Return the first response head of `buffer` and the bytes it took, None to wait for more.

    Interim answers (1xx) come out as heads of their own, with NONE framing.
    Raises Refused(DESTINATION_MALFORMED).
    """
    try:
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            check_response_part(buffer, 0, limits)
            return None
        if end + 4 > limits.head_bytes_max:
            raise Refused(Reason.HEAD_TOO_LARGE, "the head is over its bound")
        return _read_head(bytes(buffer[:end]), limits, request_method), end + 4
    except Refused as refused:
        raise Refused(Reason.DESTINATION_MALFORMED, refused.detail) from None


def check_response_part(buffer: bytearray | bytes, scanned: int, limits: Limits) -> None:
    """Refuse an incomplete head that can no longer become a response head."""
    size = min(len(buffer), len(_LINE_START))
    if buffer[:size] != _LINE_START[:size]:
        raise Refused(Reason.DESTINATION_MALFORMED, "no status line (RFC 9112 4)")
    if len(buffer) > limits.head_bytes_max:
        raise Refused(Reason.DESTINATION_MALFORMED, "the head is over its bound")
    check_new_bytes(buffer, 0, scanned)


def _read_head(head: bytes, limits: Limits, request_method: str) -> ResponseHead:
    lines = head.split(b"\r\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None or len(lines[0]) > limits.line_bytes_max:
        raise Refused(Reason.MALFORMED, "the status line is malformed (RFC 9112 4)")
    del lines[0]
    if len(head) > limits.field_bytes_max:
        check_field_sizes(lines, limits)
    fields, marks = read_fields(lines, RESPONSE_NAMES, limits)
    minor = 1 if found[1] == b"1" else 0
    response = ResponseHead(int(found[2]), found[3], fields, minor=minor)
    response.keep_alive = minor == 1
    _frame(response, marks, request_method)
    if b"connection" in marks:
        _heed_connection(response, marks)
    return response


def _frame(response: ResponseHead, marks: Marks, request_method: str) -> None:
    """Settle the body's length (RFC 9112 section 6.3)."""
    framing, length = read_framing(marks, response.minor)
    status = response.status
    if status < _FINAL or status == _NO_CONTENT:
        # Neither framing is permitted here (RFC 9112 6.1, RFC 9110 8.6); many send a zero length.
        if framing is BY_CHUNKS or length > 0:
            raise Refused(Reason.MALFORMED, "a body where none may be (RFC 9112 6.3)")
    elif status == _NOT_MODIFIED or request_method == "HEAD":
        if framing is BY_LENGTH:
            response.length = length
    elif framing is UNFRAMED:
        response.framing = BY_CLOSE
        response.keep_alive = False
    else:
        response.framing = framing
        response.length = length


def _heed_connection(response: ResponseHead, marks: Marks) -> None:
    options = connection_options(marks)
    response.fields = without_listed(response.fields, options)
    if b"close" in options:
        response.keep_alive = False
    response.upgrade = upgrade_offer(marks, options)
