"""Bodies: strict chunks, bounds, trailers, and the end of the stream."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.body import BodyDecoder
from sidecar.http.head import Field, Framing, Limits, Refused


def chunked(limits: Limits | None = None, *, response: bool = False) -> BodyDecoder:
    return BodyDecoder(Framing.CHUNKED, 0, limits or Limits(), response=response)


def refusal(raw: bytes, limits: Limits | None = None) -> Reason:
    """The reason, which must be the same at every split and come by the last byte."""
    found = set()
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        decoder = chunked(limits)
        with pytest.raises(Refused) as caught:
            for piece in pieces:
                decoder.feed(piece)
        assert not decoder.done
        found.add(caught.value.reason)
    (reason,) = found
    return reason


def decode(raw: bytes, limits: Limits | None = None) -> tuple[bytes, list[Field]]:
    for cut in range(len(raw) + 1):
        decoder = chunked(limits)
        body = b"".join(decoder.feed(raw[:cut]) + decoder.feed(raw[cut:]))
        assert decoder.done
        assert decoder.rest == b""
        if cut == 0:
            first = (body, decoder.trailers)
        assert (body, decoder.trailers) == first
    return first


@pytest.mark.parametrize("framing", [Framing.NONE, Framing.LENGTH])
def test_no_body_is_done_at_once(framing: Framing) -> None:
    decoder = BodyDecoder(framing, 0, Limits())
    assert decoder.done
    decoder.eof()
    assert decoder.feed(b"GET") == []
    assert decoder.rest == b"GET"


def test_a_known_length_is_not_copied() -> None:
    decoder = BodyDecoder(Framing.LENGTH, 8, Limits())
    data = b"hello"
    assert decoder.feed(data)[0] is data
    assert not decoder.done
    assert decoder.feed(b"abcNEXT") == [b"abc"]
    assert decoder.done
    assert decoder.rest == b"NEXT"
    decoder.feed(b"!")
    assert decoder.rest == b"NEXT!"


def test_close_ends_with_the_stream() -> None:
    """RFC 9112 section 6.3, item 8."""
    decoder = BodyDecoder(Framing.CLOSE, -1, Limits(body_bytes_max=6), response=True)
    assert decoder.feed(b"abc") == [b"abc"]
    assert not decoder.done
    decoder.feed(b"def")
    with pytest.raises(Refused):
        decoder.feed(b"g")
    decoder.eof()
    assert decoder.done


@pytest.mark.parametrize(
    ("framing", "part"), [(Framing.LENGTH, b"ab"), (Framing.CHUNKED, b"2\r\n")]
)
def test_a_short_body_is_refused(framing: Framing, part: bytes) -> None:
    """RFC 9112 section 8."""
    for response, reason in ((False, Reason.BODY_TRUNCATED), (True, Reason.DESTINATION_RESET)):
        decoder = BodyDecoder(framing, 3, Limits(), response=response)
        decoder.feed(part)
        with pytest.raises(Refused) as caught:
            decoder.eof()
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", b"0123456789" * 2),
        (b"0000000000000002\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b'5 ; foo = bar;q="a;\\"b\t\xff"\t;c\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    ],
)
def test_chunks(raw: bytes, body: bytes) -> None:
    """RFC 9112 section 7.1."""
    assert decode(raw) == (body, [])


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\n", b"+5\r\n", b"5g\r\n", b"\t5\r\n",
        b" 5\r\n", b"5 \r\n", b"5,\r\n", b"5_0\r\n", b";a\r\n", b"5;\r\n", b"5;;a\r\n", b"5;a=\r\n",
        b'5;a="b\r\n', b"5;a b\r\n", b"5;a\x00\r\n", b"5\n", b"5\rx", b"5\r\r\n", b"5;a\n",
        b"5;a\rb",
        b"10000000000000005\r\n", b"00000000000000005\r\n", b"8000000000000000\r\n",
        b"ffffffffffffffff\r\n", b"5\r\nhello0", b"5\r\nhello\n", b"5\r\nhello\rx",
        b"5\r\nhello!\r\n", b"INVALID!!!", b"\xb25\r\n",
    ],
)  # fmt: skip
def test_bad_chunks_are_refused(raw: bytes) -> None:
    """RFC 9112 section 7.1, with sizes of at most 16 digits and 63 bits."""
    assert refusal(raw) is Reason.MALFORMED


def test_extensions_are_bounded() -> None:
    limits = Limits(chunk_line_bytes_max=10, extension_bytes_max=16)
    decode(b"1;abcdefgh\r\nx\r\n0\r\n\r\n", limits)
    assert refusal(b"1;abcdefghi\r\nx\r\n0\r\n\r\n", limits) is Reason.MALFORMED
    assert refusal(b"1;abcdef\r\nx\r\n" * 3, limits) is Reason.MALFORMED


def test_trailers() -> None:
    """RFC 9112 section 7.1.2; RFC 9110 section 6.5.1."""
    raw = (
        b"1\r\nx\r\n0\r\nX-Sum:  1 \r\nContent-Length: 9\r\nHost: a\r\nTxn-Token: t\r\n"
        b"X_Forwarded_Client_Cert: c\r\nConnection: close\r\nGrpc-Status: 0\r\n\r\n"
    )
    assert decode(raw) == (b"x", [(b"x-sum", b"1"), (b"grpc-status", b"0")])


@pytest.mark.parametrize(
    "line", [b"X : y", b" X: y", b"X", b": y", b"X: a\x00", b"X: a\rb", b"X: a\nb", b"X\xff: a"]
)
def test_bad_trailers_are_refused(line: bytes) -> None:
    assert refusal(b"0\r\n" + line + b"\r\n\r\n") is Reason.MALFORMED


def test_trailers_are_bounded() -> None:
    decode(b"0\r\na: b\r\nc: d\r\n\r\n", Limits(trailer_bytes_max=12))
    for limits in (Limits(trailer_bytes_max=11), Limits(fields_max=1)):
        assert refusal(b"0\r\na: b\r\nc: d\r\n\r\n", limits) is Reason.MALFORMED
    assert refusal(b"0\r\n" + b"a" * 20, Limits(trailer_bytes_max=10)) is Reason.MALFORMED


def test_the_body_is_bounded() -> None:
    limits = Limits(body_bytes_max=6)
    assert decode(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", limits)[0] == b"abcdef"
    assert refusal(b"3\r\nabc\r\n4\r\n", limits) is Reason.BODY_TOO_LARGE
    assert refusal(b"7fffffffffffffff\r\n", limits) is Reason.BODY_TOO_LARGE
    with pytest.raises(Refused) as caught:
        BodyDecoder(Framing.LENGTH, 7, limits)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


def test_a_response_blames_the_destination() -> None:
    for raw in (b"x", b"5\r\nhellox", b"0\r\n x\r\n\r\n", b"7\r\n"):
        with pytest.raises(Refused) as caught:
            chunked(Limits(body_bytes_max=6), response=True).feed(raw)
        assert caught.value.reason is Reason.DESTINATION_MALFORMED


def test_what_follows_is_the_rest() -> None:
    decoder = chunked()
    assert decoder.feed(b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n") == [b"x"]
    assert decoder.rest == b"GET / HTTP/1.1\r\n"
    assert decoder.feed(b"") == []
