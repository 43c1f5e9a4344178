"""HTTP/1 properties: what is written reads the same, however it is split; nothing else leaks."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.grammar import REQUEST_NAMES, VALUE_BYTES
from sidecar.http.head import Field, Framing, Limits, Refused, RequestHead
from sidecar.http.http1 import (
    BodyDecoder,
    HeadReader,
    encode_chunk,
    encode_last_chunk,
    encode_request,
    parse_request,
    parse_response,
)
from sidecar.http.target import parse_target

LIMITS = Limits()
NAMES = (
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-!#$", min_size=1, max_size=20)
    .map(str.encode)
    .filter(lambda name: name not in REQUEST_NAMES.special)
)
VALUES = st.lists(st.sampled_from(VALUE_BYTES), max_size=30).map(lambda v: bytes(v).strip(b" \t"))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
SEGMENTS = st.text("abcXYZ019-_~!$&'()*+,;=:@", min_size=1, max_size=8)
TARGETS = st.builds(
    lambda parts, query: ("/" + "/".join(parts) + (f"?{query}" if query else "")).encode(),
    st.lists(SEGMENTS, max_size=4),
    st.text("abc=&/?.%", max_size=8).filter(lambda query: "%" not in query),
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "OPTIONS", "PROPFIND"])
AUTHORITIES = st.sampled_from([b"a", b"orders.shop.example:8080", b"127.0.0.1:1", b"[::1]:80"])


def pieces(data: st.DataObject, wire: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    ends = [*cuts, len(wire)]
    return [wire[a:b] for a, b in zip([0, *cuts], ends, strict=True)]


@given(METHODS, TARGETS, AUTHORITIES, FIELDS, st.binary(max_size=200), st.booleans(), st.data())
def test_http1_what_is_written_reads_the_same(
    method: str,
    target: bytes,
    authority: bytes,
    fields: list[Field],
    body: bytes,
    chunked: bool,
    data: st.DataObject,
) -> None:
    framing = Framing.CHUNKED if chunked else Framing.LENGTH
    wire = encode_request(method, target, authority, fields, framing, len(body))
    wire += encode_chunk(body) + encode_last_chunk([(b"x-t", b"1")]) if chunked else body
    reader, buffer = HeadReader(LIMITS), bytearray()
    head: RequestHead | None = None
    got = b""
    for piece in pieces(data, wire + b"NEXT"):
        if head is None:
            buffer += piece
            parsed = reader.request(buffer)
            if parsed is None:
                continue
            head, used = parsed
            decoder = BodyDecoder(head.framing, head.length, LIMITS)
            got += b"".join(decoder.feed(bytes(buffer[used:])))
        else:
            got += b"".join(decoder.feed(piece))
    assert head is not None
    assert decoder.done
    assert (head.method, head.target, head.authority.encode()) == (method, target, authority)
    assert head.fields == fields
    assert (head.framing, got, decoder.rest) == (framing, body, b"NEXT")
    assert decoder.trailers == ([(b"x-t", b"1")] if chunked else [])


@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"Host: a", b"X", b":", b" ", b"\n", b"%2e"]
            ),
            max_size=20,
        ).map(b"".join),
    )
)
def test_http1_random_bytes_raise_only_refused(raw: bytes) -> None:
    for parse in (
        lambda: parse_request(raw, LIMITS),
        lambda: parse_response(raw, LIMITS, request_method="GET"),
        lambda: BodyDecoder(Framing.CHUNKED, 0, LIMITS).feed(raw),
    ):
        try:
            parse()
        except Refused as refused:
            assert refused.detail


@given(st.binary(max_size=300), st.data())
def test_http1_chunks_read_the_same_at_any_split(raw: bytes, data: st.DataObject) -> None:
    wire = encode_chunk(raw[:100]) + encode_chunk(raw[100:]) + b"0\r\n\r\n"
    decoder = BodyDecoder(Framing.CHUNKED, 0, LIMITS)
    body = b"".join(chunk for piece in pieces(data, wire) for chunk in decoder.feed(piece))
    assert (body, decoder.done, decoder.rest) == (raw, True, b"")


@given(st.text("/.%;a\\2eEfFcC5bB01?#é ", max_size=16).map(lambda text: ("/" + text).encode()))
def test_http1_an_accepted_path_has_one_reading(target: bytes) -> None:
    """Decoding once, twice or not at all, folding or not: the segments stay the same."""
    try:
        read = parse_target("GET", target)
    except Refused:
        return
    assert read.wire == target
    decoded = unquote_to_bytes(read.path)
    assert decoded.count(b"/") == read.path.count("/")
    assert unquote_to_bytes(decoded) == decoded
    assert b"\\" not in decoded
    assert b"//" not in decoded
    for segment in decoded.split(b"/"):
        assert segment.split(b";")[0] not in {b".", b".."}


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
def test_http1_the_encoder_writes_one_head_or_nothing(fields: list[Field]) -> None:
    try:
        wire = encode_request("GET", b"/", b"a", fields, Framing.NONE, 0)
    except ValueError:
        return
    assert wire.count(b"\r\n") == len(fields) + 3
    assert wire.index(b"\r\n\r\n") == len(wire) - 4
    assert wire.count(b"\r") == wire.count(b"\n") == len(fields) + 3
