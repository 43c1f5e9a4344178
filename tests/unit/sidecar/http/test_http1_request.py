"""Request heads: the request line, Host, and what the special fields say to this hop."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.head import Framing, Limits, Refused, RequestHead
from sidecar.http.http1_request import parse_request


def parse(raw: bytes, limits: Limits | None = None) -> RequestHead:
    parsed = parse_request(raw, limits or Limits())
    assert parsed is not None
    assert parsed[1] == raw.index(b"\r\n\r\n", len(raw) - len(raw.lstrip(b"\r\n"))) + 4
    assert parse_request(bytearray(raw), limits or Limits()) == parsed
    return parsed[0]


def get(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return parse(b"\r\n".join([line, b"Host: a", *lines, b"", b""]))


def refusal(raw: bytes, limits: Limits | None = None) -> Reason:
    with pytest.raises(Refused) as caught:
        parse_request(raw, limits or Limits())
    return caught.value.reason


def refused_line(line: bytes) -> Reason:
    return refusal(line + b"\r\nHost: a\r\n\r\n")


def test_a_plain_request() -> None:
    head = parse(
        b"POST /a?b=c HTTP/1.1\r\nHost: Shop:80\r\nAccept: x\r\nContent-Length: 5\r\n\r\nhello"
    )
    assert head == RequestHead(
        "POST", b"/a?b=c", "/a", "b=c", "shop:80", [(b"accept", b"x")], Framing.LENGTH, 5
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET /", Reason.MALFORMED),
        (b"GET", Reason.MALFORMED),
        (b"GET  / HTTP/1.1", Reason.MALFORMED),
        (b"GET / HTTP/1.1 ", Reason.MALFORMED),
        (b" GET / HTTP/1.1", Reason.MALFORMED),
        (b"GET\t/ HTTP/1.1", Reason.MALFORMED),
        (b"GET / x HTTP/1.1", Reason.MALFORMED),
        (b"GET / http/1.1", Reason.MALFORMED),
        (b"GET / HTTP/1", Reason.MALFORMED),
        (b"GET / HTTP/1.1x", Reason.MALFORMED),
        (b"GET / HTTP/01.1", Reason.MALFORMED),
        (b"GET / HTTP/2.0", Reason.VERSION_REFUSED),
        (b"GET / HTTP/1.2", Reason.VERSION_REFUSED),
        (b"GET / HTTP/0.9", Reason.VERSION_REFUSED),
        (b"PRI * HTTP/2.0", Reason.VERSION_REFUSED),
        (b"CONNECT a:80 HTTP/1.1", Reason.METHOD_REFUSED),
        (b"CONNECT / HTTP/1.1", Reason.METHOD_REFUSED),
        (b"TRACE / HTTP/1.1", Reason.METHOD_REFUSED),
        (b"get / HTTP/1.1", Reason.METHOD_REFUSED),
        (b"G:T / HTTP/1.1", Reason.MALFORMED),
        (b"G\xc3\xa9T / HTTP/1.1", Reason.MALFORMED),
        (b"A" * 33 + b" / HTTP/1.1", Reason.MALFORMED),
        (b"GET * HTTP/1.1", Reason.MALFORMED),
        (b"GET /../a HTTP/1.1", Reason.AMBIGUOUS_PATH),
    ],
)
def test_bad_request_lines_are_refused(line: bytes, reason: Reason) -> None:
    """RFC 9112 sections 2.3 and 3; RFC 9110 section 9.1."""
    assert refused_line(line) is reason


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "M-SEARCH", "QUERY", "X_Y!"])
def test_methods_are_any_upper_case_token(method: str) -> None:
    assert get(line=method.encode() + b" / HTTP/1.1").method == method


@pytest.mark.parametrize("count", range(5))
def test_a_few_empty_lines_are_ignored(count: int) -> None:
    """RFC 9112 section 2.2."""
    assert parse(b"\r\n" * count + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").path == "/"


@pytest.mark.parametrize("start", [b"\r\n" * 5, b"\n", b"\r\r\n", b"\r\n\n", b"\r\n\r"])
def test_other_empty_lines_are_refused(start: bytes) -> None:
    assert refusal(start + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is Reason.MALFORMED


def test_host_is_required_in_http11_only() -> None:
    """RFC 9112 section 3.2."""
    assert refusal(b"GET / HTTP/1.1\r\n\r\n") is Reason.MALFORMED
    assert refusal(b"GET / HTTP/1.1\r\nHost:\r\n\r\n") is Reason.MALFORMED
    assert refusal(b"GET / HTTP/1.0\r\nHost:\r\n\r\n") is Reason.MALFORMED
    head = parse(b"GET / HTTP/1.0\r\n\r\n")
    assert (head.authority, head.minor, head.keep_alive) == ("", 0, False)


def test_the_authority_of_absolute_form_replaces_host() -> None:
    """RFC 9112 section 3.2.2: Host is ignored, but it must be there and valid (3.2)."""
    head = parse(b"GET http://shop/x HTTP/1.1\r\nHost: other\r\n\r\n")
    assert (head.authority, head.target, head.absolute) == ("shop", b"/x", True)
    assert refusal(b"GET http://shop/x HTTP/1.1\r\n\r\n") is Reason.MALFORMED
    assert refusal(b"GET http://shop/x HTTP/1.1\r\nHost: a b\r\n\r\n") is Reason.MALFORMED


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    ],
)
def test_strict_lines(raw: bytes) -> None:
    """RFC 9112 sections 2.2 and 5.2."""
    assert refusal(raw) is Reason.MALFORMED


def test_hop_by_hop_fields_are_removed() -> None:
    """RFC 9110 section 7.6.1."""
    head = get(
        b"Connection: X-Mine, TE",
        b"X-Mine: 1",
        b"TE: trailers",
        b"Trailer: x",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: secret",
        b"HTTP2-Settings: AAMA",
        b"X-Kept: 1",
    )
    assert head.fields == [(b"x-kept", b"1")]
    assert (head.trailers_accepted, head.trailers_announced, head.keep_alive) == (True, True, True)


def test_close_ends_the_connection() -> None:
    """RFC 9112 section 9.3: close wins; HTTP/1.0 always closes here."""
    assert get().keep_alive
    assert get(b"Connection: Keep-Alive").keep_alive
    assert not get(b"Connection: keep-alive, CLOSE").keep_alive
    assert not get(b"Connection: keep-alive", line=b"GET / HTTP/1.0").keep_alive


def test_h2c_is_ignored_and_other_upgrades_are_noted() -> None:
    """RFC 9113 section 3.1; RFC 9110 section 7.8."""
    head = get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA")
    assert (head.upgrade, head.fields) == (b"", [])
    assert get(b"Connection: upgrade", b"Upgrade: WebSocket").upgrade == b"websocket"


def test_expect() -> None:
    """RFC 9110 section 10.1.1."""
    head = get(b"Expect: 100-Continue", b"Content-Length: 1")
    assert head.expect_continue
    assert head.fields == []
    assert not get(b"Expect: 100-continue").expect_continue
    old = get(b"Expect: 100-continue", b"Content-Length: 1", line=b"POST / HTTP/1.0")
    assert not old.expect_continue
    expected = b"GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n"
    assert refusal(expected) is Reason.EXPECTATION_REFUSED


def test_stripping_a_token_is_refused() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: txn-token\r\nTxn-Token: t\r\n\r\n"
    assert refusal(raw) is Reason.MALFORMED
    assert get(b"Connection: Txn-Token, X-Forwarded-Client-Cert").fields == []


def test_lookalikes_are_not_forwarded() -> None:
    assert get(b"Content_Length: 5", b"Txn_Token: t", b"X_Ok: 1").fields == [(b"x_ok", b"1")]


def test_the_bounds_are_inclusive() -> None:
    raw = b"GET /aaaa HTTP/1.1\r\nHost: a\r\n\r\n"
    parse(raw, Limits(head_bytes_max=len(raw), line_bytes_max=18, field_bytes_max=7))
    assert refusal(raw, Limits(head_bytes_max=len(raw) - 1)) is Reason.HEAD_TOO_LARGE
    assert refusal(raw, Limits(line_bytes_max=17)) is Reason.TARGET_TOO_LONG
    assert refusal(raw, Limits(field_bytes_max=6)) is Reason.HEAD_TOO_LARGE


def test_an_announced_body_over_its_bound_is_refused_at_once() -> None:
    raw = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    parse(raw, Limits(body_bytes_max=6))
    assert refusal(raw, Limits(body_bytes_max=5)) is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(
    "part",
    [b"", b"\r", b"\r\n", b"\r\n\r", b"G", b"GET", b"GET /a", b"GET / HTTP/1.1\r",
     b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"],
)  # fmt: skip
def test_a_part_waits(part: bytes) -> None:
    assert parse_request(part, Limits()) is None


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (b"\x16", Reason.MALFORMED),  # TLS
        (b"\x16\x03\x01\x02", Reason.MALFORMED),
        (b"\x00", Reason.MALFORMED),
        (b" ", Reason.MALFORMED),
        (b"A" * 33, Reason.MALFORMED),
        (b"GET / HTTP/1.1\n", Reason.MALFORMED),
        (b"GET /\r", None),
        (b"GET /\rx", Reason.MALFORMED),
        (b"GET /\x00", Reason.MALFORMED),
        (b"GET / HTTP/2.0\r\n", Reason.VERSION_REFUSED),
        (b"PRI * HTTP/2.0\r\n", Reason.VERSION_REFUSED),
        (b"GET /../ HTTP/1.1\r\n", Reason.AMBIGUOUS_PATH),
        (b"GET / HTTP/1.1\r\nHost: a\n", Reason.MALFORMED),
        (b"\r\n" * 5, Reason.MALFORMED),
    ],
)
def test_what_cannot_become_a_request_is_refused_early(part: bytes, reason: Reason | None) -> None:
    if reason is None:
        assert parse_request(part, Limits()) is None
    else:
        assert refusal(part) is reason


def test_a_part_over_a_bound_is_refused_early() -> None:
    limits = Limits(head_bytes_max=100, line_bytes_max=50)
    assert refusal(b"GET /" + b"a" * 50, limits) is Reason.TARGET_TOO_LONG
    assert refusal(b"GET /" + b"a" * 500, limits) is Reason.TARGET_TOO_LONG
    part = b"GET / HTTP/1.1\r\nX: " + b"a" * 100
    assert refusal(part, limits) is Reason.HEAD_TOO_LARGE


def test_details_never_quote_the_message() -> None:
    with pytest.raises(Refused) as caught:
        parse_request(b"GET /../s3cret HTTP/1.1\r\nHost: s3cret\r\n\r\n", Limits())
    assert "s3cret" not in repr(caught.value)
