"""No value can break out of its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry.line import PATH_CHARS_MAX, Stamps, bounded_path, encode

TEXTS = st.text() | st.text(alphabet=st.characters(categories=["Cc", "Cs", "Zl", "Zp"]))


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_a_line_is_printable_ascii_and_valid_json(text: str, texts: list[str]) -> None:
    line = encode({"a": text, "b": texts, "n": 1})
    assert line.endswith(b"}\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line)["a"] == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("evil", ["\n", "\r\n", "\u2028", "\x85", "\x1b[2J", "\x9b2J", "\x7f", '"'])
def test_controls_do_not_get_through(evil: str) -> None:
    line = encode({"path": f'/a{evil}{{"reason":""}}'})
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == {"path": f'/a{evil}{{"reason":""}}'}


def test_numbers_over_64_bits_do_not_fail() -> None:
    assert json.loads(encode({"n": 1 << 80})) == {"n": 1 << 80}


def test_paths_lose_their_query_and_are_bounded() -> None:
    assert bounded_path("/a?token=secret") == "/a"
    assert len(bounded_path("/" + "a" * 9999)) == PATH_CHARS_MAX


def test_stamps_follow_the_second() -> None:
    stamps = Stamps()
    assert stamps.at(0.0) == "1970-01-01T00:00:00.000Z"
    assert stamps.at(0.9999) == "1970-01-01T00:00:00.999Z"
    assert stamps.at(86_400.25) == "1970-01-02T00:00:00.250Z"
