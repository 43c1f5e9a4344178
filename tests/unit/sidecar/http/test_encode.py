"""The encoder: exact bytes, one framing, and no way to start a second line."""

from __future__ import annotations

import pytest

from sidecar.http.encode import (
    CONTINUE,
    encode_chunk,
    encode_last_chunk,
    encode_request,
    encode_response,
)
from sidecar.http.head import Field, Framing


def request(**changes: object) -> bytes:
    values: dict[str, object] = {
        "method": "GET",
        "target": b"/",
        "authority": b"a",
        "fields": [],
        "framing": Framing.NONE,
        "length": 0,
    }
    return encode_request(**(values | changes))  # type: ignore[arg-type]


def response(status: int, framing: Framing, length: int, **changes: object) -> bytes:
    values: dict[str, object] = {
        "phrase": b"X",
        "fields": [],
        "keep_alive": True,
        "head_request": False,
    }
    return encode_response(status, framing=framing, length=length, **(values | changes))  # type: ignore[arg-type]


def test_a_request() -> None:
    fields = [(b"accept", b"x"), (b"txn-token", b"t")]
    assert request(fields=iter(fields), target=b"/a?b", authority=b"a:80") == (
        b"GET /a?b HTTP/1.1\r\nhost: a:80\r\naccept: x\r\ntxn-token: t\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "framing", "length", "line"),
    [
        ("GET", Framing.NONE, 0, b""),
        ("POST", Framing.NONE, 0, b"content-length: 0\r\n"),
        ("GET", Framing.LENGTH, 5, b"content-length: 5\r\n"),
        ("POST", Framing.CHUNKED, 0, b"transfer-encoding: chunked\r\n"),
    ],
)
def test_the_framing_of_a_request(method: str, framing: Framing, length: int, line: bytes) -> None:
    """RFC 9112 section 6; RFC 9110 section 8.6."""
    wire = request(method=method, framing=framing, length=length)
    assert wire == method.encode() + b" / HTTP/1.1\r\nhost: a\r\n" + line + b"\r\n"


def test_a_request_may_close() -> None:
    assert request(keep_alive=False).endswith(b"\r\nconnection: close\r\n\r\n")


BAD_FIELDS: list[Field] = [
    (b"x", b"a\r\nb: c"),
    (b"x", b"a\n"),
    (b"x", b"a\r"),
    (b"x", b"a\x00"),
    (b"x", b"a\x7f"),
    (b"x\r\ny", b"a"),
    (b"x:", b"a"),
    (b"x ", b"a"),
    (b"", b"a"),
    (b"host", b"a"),
    (b"Host", b"a"),
    (b"content-length", b"5"),
    (b"Transfer-Encoding", b"chunked"),
    (b"connection", b"x"),
    (b"te", b"trailers"),
    (b"upgrade", b"x"),
    (b"expect", b"100-continue"),
]


@pytest.mark.parametrize("field", BAD_FIELDS)
def test_bad_fields_are_refused(field: Field) -> None:
    for _ in range(2):  # a bad name must not be learned
        with pytest.raises(ValueError):
            request(fields=[(b"accept", b"a"), field])
        with pytest.raises(ValueError):
            response(200, Framing.NONE, 0, fields=[field])


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET /x"},
        {"method": "G\r\n"},
        {"method": ""},
        {"method": "é"},
        {"target": b"/ HTTP/1.1\r\nx:"},
        {"target": b"/a b"},
        {"target": b"/a#b"},
        {"target": b"/\xff"},
        {"target": b""},
        {"target": b"http://a/"},
        {"target": b"*a"},
        {"authority": b"a\r\nx: y"},
        {"authority": b"a b"},
        {"authority": b"u@a"},
        {"framing": Framing.CLOSE},
        {"framing": Framing.LENGTH, "length": -1},
    ],
)
def test_bad_requests_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        request(**changes)


@pytest.mark.parametrize(
    ("status", "framing", "length", "changes", "line"),
    [
        (200, Framing.NONE, 0, {}, b"content-length: 0\r\n"),
        (200, Framing.LENGTH, 5, {}, b"content-length: 5\r\n"),
        (200, Framing.CHUNKED, 0, {}, b"transfer-encoding: chunked\r\n"),
        (200, Framing.CLOSE, -1, {"keep_alive": False}, b"connection: close\r\n"),
        (200, Framing.NONE, 10, {"head_request": True}, b"content-length: 10\r\n"),
        (200, Framing.NONE, -1, {"head_request": True}, b""),
        (304, Framing.NONE, 10, {}, b"content-length: 10\r\n"),
        (304, Framing.NONE, -1, {}, b""),
        (204, Framing.NONE, 0, {}, b""),
        (100, Framing.NONE, -1, {}, b""),
        (599, Framing.NONE, 0, {"keep_alive": False},
         b"content-length: 0\r\nconnection: close\r\n"),
    ],
)  # fmt: skip
def test_the_framing_of_a_response(
    status: int, framing: Framing, length: int, changes: dict[str, object], line: bytes
) -> None:
    """RFC 9112 section 6.3; RFC 9110 section 8.6."""
    wire = response(status, framing, length, **changes)
    assert wire == b"HTTP/1.1 %d X\r\n" % status + line + b"\r\n"


@pytest.mark.parametrize(
    ("status", "framing", "changes"),
    [
        (99, Framing.NONE, {}),
        (600, Framing.NONE, {}),
        (204, Framing.LENGTH, {}),
        (101, Framing.CHUNKED, {}),
        (304, Framing.CHUNKED, {}),
        (200, Framing.CLOSE, {"keep_alive": True}),
        (200, Framing.NONE, {"phrase": b"a\r\nb"}),
        (200, Framing.NONE, {"phrase": b"a\x00"}),
    ],
)
def test_bad_responses_are_refused(
    status: int, framing: Framing, changes: dict[str, object]
) -> None:
    with pytest.raises(ValueError):
        response(status, framing, 0, **changes)


def test_chunks() -> None:
    """RFC 9112 section 7.1."""
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_chunk(b"") == b""
    assert encode_last_chunk([]) == b"0\r\n\r\n"
    assert encode_last_chunk([(b"grpc-status", b"0")]) == b"0\r\ngrpc-status: 0\r\n\r\n"


@pytest.mark.parametrize(
    "field",
    [
        (b"host", b"a"),
        (b"content-length", b"1"),
        (b"Txn-Token", b"t"),
        (b"x", b"a\r\n\r\nb"),
        (b"", b""),
    ],
)
def test_bad_trailers_are_refused(field: Field) -> None:
    with pytest.raises(ValueError):
        encode_last_chunk([field])


def test_continue() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
