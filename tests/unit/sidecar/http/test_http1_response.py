"""Response heads: the status line and how long the body is."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.head import Framing, Limits, Refused, ResponseHead
from sidecar.http.http1_response import parse_response


def parse(raw: bytes, request_method: str = "GET", limits: Limits | None = None) -> ResponseHead:
    parsed = parse_response(raw, limits or Limits(), request_method=request_method)
    assert parsed is not None
    return parsed[0]


def answer(*lines: bytes, status: bytes = b"200 OK", method: str = "GET") -> ResponseHead:
    return parse(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]), method)


def refused(raw: bytes, limits: Limits | None = None) -> None:
    with pytest.raises(Refused) as caught:
        parse_response(raw, limits or Limits(), request_method="GET")
    assert caught.value.reason is Reason.DESTINATION_MALFORMED


def test_a_plain_response() -> None:
    raw = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello"
    parsed = parse_response(bytearray(raw), Limits(), request_method="POST")
    expected = ResponseHead(201, b"Created", [(b"server", b"x")], Framing.LENGTH, 5)
    assert parsed == (expected, len(raw) - 5)


@pytest.mark.parametrize("phrase", [b"", b"OK", b"Not  OK\t", b"caf\xe9"])
def test_phrases(phrase: bytes) -> None:
    """RFC 9112 section 4."""
    assert answer(status=b"200 " + phrase).phrase == phrase


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200", b"HTTP/1.1  200 OK", b"HTTP/1.1 2 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1",
        b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK", b"HTTP/1.01 200 OK", b"http/1.1 200 OK", b"ICE/1.1 200 OK",
        b"HTTP/1.1\t200 OK", b"\r\nHTTP/1.1 200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 OK\nX: y", b"HTTP/1.1 200 OK\rX: y",
    ],
)  # fmt: skip
def test_bad_status_lines_are_refused(line: bytes) -> None:
    """RFC 9112 section 4; RFC 9110 section 15."""
    refused(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("lines", "framing", "length", "keep"),
    [
        ([b"Content-Length: 5"], Framing.LENGTH, 5, True),
        ([b"Transfer-Encoding: chunked"], Framing.CHUNKED, 0, True),
        ([], Framing.CLOSE, -1, False),
        ([b"Connection: close", b"Content-Length: 0"], Framing.LENGTH, 0, False),
    ],
)
def test_lengths(lines: list[bytes], framing: Framing, length: int, keep: bool) -> None:
    """RFC 9112 section 6.3."""
    head = answer(*lines)
    assert (head.framing, head.length, head.keep_alive) == (framing, length, keep)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: x",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"X: a\r\n b",
        b"X: a\nb",
        b"X: a\rSet-Cookie: b",
        b"X: a\x00b",
        b"X : a",
        b"Connection: content-length",
    ],
)
def test_bad_heads_are_refused(lines: bytes) -> None:
    refused(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n")


def test_transfer_encoding_in_http10_is_refused() -> None:
    """RFC 9112 section 6.1."""
    refused(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_http10_closes() -> None:
    raw = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n"
    assert not parse(raw).keep_alive


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints", b"204 No Content"])
def test_statuses_without_a_body(status: bytes) -> None:
    """RFC 9112 section 6.3, item 1. A zero length is common and harmless."""
    assert answer(b"Link: x", status=status).framing is Framing.NONE
    assert answer(b"Content-Length: 0", status=status).framing is Framing.NONE
    refused(b"HTTP/1.1 " + status + b"\r\nContent-Length: 1\r\n\r\n")
    refused(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(("status", "method"), [(b"304 Not Modified", "GET"), (b"200 OK", "HEAD")])
def test_announced_lengths(status: bytes, method: str) -> None:
    """RFC 9110 section 8.6: the length that a GET would have had."""
    head = answer(b"Content-Length: 10", status=status, method=method)
    assert (head.framing, head.length, head.keep_alive) == (Framing.NONE, 10, True)
    assert answer(status=status, method=method).length == -1
    chunked = answer(b"Transfer-Encoding: chunked", status=status, method=method)
    assert (chunked.framing, chunked.length) == (Framing.NONE, -1)


def test_hop_by_hop_fields_are_removed() -> None:
    """RFC 9110 section 7.6.1."""
    head = answer(
        b"Connection: x-mine, upgrade",
        b"X-Mine: 1",
        b"Upgrade: WebSocket",
        b"Keep-Alive: 5",
        b"Proxy-Authenticate: Basic",
        b"Trailer: x",
        b"Host: x",
        b"Expect: x",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Content-Length: 0",
    )
    assert head.fields == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert head.upgrade == b"websocket"


def test_bounds() -> None:
    raw = b"HTTP/1.1 200 OK\r\nX: yy\r\n\r\n"
    parse(raw, limits=Limits(head_bytes_max=len(raw), line_bytes_max=15, field_bytes_max=5))
    for limits in (
        Limits(head_bytes_max=len(raw) - 1),
        Limits(line_bytes_max=14),
        Limits(field_bytes_max=4),
        Limits(fields_max=0),
    ):
        refused(raw, limits)
    refused(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100, Limits(head_bytes_max=50))


@pytest.mark.parametrize("part", [b"", b"H", b"HTTP/1.", b"HTTP/1.1 200 OK\r\nX: y\r\n\r"])
def test_a_part_waits(part: bytes) -> None:
    assert parse_response(part, Limits(), request_method="GET") is None


@pytest.mark.parametrize("part", [b"X", b"HTTQ", b"\r", b"HTTP/2", b"HTTP/1.1 200 OK\n", b"\x15"])
def test_what_cannot_become_a_response_is_refused_early(part: bytes) -> None:
    refused(part)
