"""The tables of HTTP/1: names, tokens, bytes."""

from __future__ import annotations

import pytest

from sidecar.http.grammar import (
    HOP_NAMES,
    REQUEST_NAMES,
    RESPONSE_NAMES,
    Names,
    line_breaks_are_strict,
    trailer_is_dropped,
)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\x00", b"a\xe9", b"(a)", b"a\t", b'a"'])
def test_what_is_not_a_token_is_no_name(name: bytes) -> None:
    """RFC 9110 section 5.1."""
    assert REQUEST_NAMES.look(name) is None


def test_names_are_folded_and_learned() -> None:
    names = Names(frozenset(), frozenset())
    assert names.look(b"X-SomeThing") == b"x-something"
    assert names.plain[b"X-SomeThing"] == b"x-something"


def test_no_special_name_is_ever_plain() -> None:
    for names in (REQUEST_NAMES, RESPONSE_NAMES):
        for special in names.special:
            for spelling in (special, special.title(), special.upper(), special.swapcase()):
                assert names.look(spelling) == special
                assert spelling not in names.plain


@pytest.mark.parametrize(
    "name", [b"Content_Length", b"transfer_encoding", b"TXN_TOKEN", b"x_request-id", b"Host_"]
)
def test_lookalikes_are_dropped(name: bytes) -> None:
    """RFC 3875 section 4.1.18: a CGI application cannot tell `_` from `-`."""
    expected = b"host_" if name == b"Host_" else b""
    assert REQUEST_NAMES.look(name) == expected


def test_the_memory_for_names_is_bounded() -> None:
    names = Names(HOP_NAMES, frozenset())
    seeded = len(names.plain)
    for number in range(5000):
        names.look(b"x-%d" % number)
    assert len(names.plain) <= seeded + 1024
    assert names.plain[b"Accept"] == b"accept"
    names.look(b"y" * 65)
    assert b"y" * 65 not in names.plain


@pytest.mark.parametrize(
    ("part", "lines", "strict"),
    [
        (b"a\r\nb", 2, True),
        (b"a\tb \xff", 1, True),
        (b"a\nb", 1, False),
        (b"a\rb", 1, False),
        (b"a\n\rb", 1, False),
        (b"a\r\r\nb", 2, False),
        (b"a\x00", 1, False),
        (b"a\x7f", 1, False),
        (b"a\x0b", 1, False),
    ],
)
def test_line_breaks(part: bytes, lines: int, strict: bool) -> None:
    """RFC 9112 section 2.2: no bare CR, no bare LF; RFC 9110 section 5.5: no controls."""
    assert line_breaks_are_strict(part, lines) is strict


@pytest.mark.parametrize(
    "name",
    [
        "content-length", "content-type", "host", "te", "txn-token", "txn-hops", "authorization",
        "cookie", "set-cookie", "x-forwarded-client-cert", "x-forwarded-for", "if-match",
        "transfer_encoding", "connection",
    ],
)  # fmt: skip
def test_trailers_that_act_as_headers_are_dropped(name: str) -> None:
    """RFC 9110 section 6.5.1."""
    assert trailer_is_dropped(name.encode())


@pytest.mark.parametrize("name", ["grpc-status", "grpc-message", "x-checksum", "digest", "etag"])
def test_other_trailers_pass(name: str) -> None:
    assert not trailer_is_dropped(name.encode())
