"""Base64url and JSON with exactly one reading."""

from __future__ import annotations

import pytest

from ca.spiffe.encoding import (
    DEPTH_MAX,
    JwsError,
    b64url_decode,
    b64url_encode,
    json_bytes,
    json_object,
)


@pytest.mark.parametrize("raw", [b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc", bytes(range(256))])
def test_base64url_goes_both_ways(raw: bytes) -> None:
    text = b64url_encode(raw)
    assert b"=" not in text
    assert b64url_decode(text) == raw


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"A",
        b"AAAAA",
        b"YQ==",
        b"YQ=",
        b"YR",
        b"YWJ",
        b"+/+/",
        b"YW Jj",
        b"YWJj\n",
        b"\xff\xff",
    ],
)
def test_any_other_base64_is_refused(text: bytes) -> None:
    if text == b"YWJ":  # the last two bits of "YWI" turned
        assert b64url_decode(b"YWI") == b"ab"
    with pytest.raises(JwsError):
        b64url_decode(text)


def test_json_object_is_read() -> None:
    assert json_object(b' {"a": [1, 2.5, null, true], "\xc3\xa9": {}}') == {
        "a": [1, 2.5, None, True],
        "é": {},
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"x"',
        b"null",
        b"{",
        b"{}x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":"\n"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_any_other_json_is_refused(raw: bytes) -> None:
    with pytest.raises(JwsError) as caught:
        json_object(raw)
    assert caught.value.kind == "malformed"


def test_depth_is_bounded_exactly() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert json_object(nested(DEPTH_MAX))
    with pytest.raises(JwsError):
        json_object(nested(DEPTH_MAX + 1))
    assert json_object(b'{"a":"' + b"[{" * 50 + b'"}'), "brackets in a text are no levels"


def test_json_is_written_compactly_or_not_at_all() -> None:
    assert json_bytes({"a": 1, "b": ["é"]}) == '{"a":1,"b":["é"]}'.encode()
    for value in (float("nan"), float("inf"), {1, 2}, b"x", "\ud800"):
        with pytest.raises(JwsError):
            json_bytes({"a": value})
