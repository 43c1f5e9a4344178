"""What is decoded says what the bytes say, or nothing does."""

from __future__ import annotations

import pytest

from policy.faithful import Unreadable, parsed_body, parsed_path, parsed_query, utf8
from policy.reason import Reason

FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
JSON = [(b"content-type", b"application/json")]


def test_what_has_one_reading() -> None:
    assert utf8("é".encode(), "") == "é"
    assert parsed_path("/a%2fb/c") == ["a", "b", "c"]
    assert parsed_query("a=%41&a=+") == {"a": ["A", " "]}
    assert parsed_query("") == {}
    assert parsed_body(b"a=1", FORM) == {"a": ["1"]}
    assert parsed_body(b'{"a": 1}', JSON) == {"a": 1}
    assert parsed_body(b'{"a": 1}', []) is None


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"])
def test_what_is_not_utf8(raw: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        utf8(raw, "why")
    assert (caught.value.reason, caught.value.detail) == (Reason.MALFORMED, "why")


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b"Infinity", b"{} {}", b"[" * 100_000])
def test_json_with_no_reading_or_two(body: bytes) -> None:
    with pytest.raises(Unreadable):
        parsed_body(body, JSON)
    with pytest.raises(Unreadable):
        parsed_body(b"{}", JSON * 2)
