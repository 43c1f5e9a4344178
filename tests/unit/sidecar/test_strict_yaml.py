"""YAML that can be read in two ways is a problem with a line, not a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.strict_yaml import BYTES_MAX, read


def test_values_as_json_would_have_them() -> None:
    text = b"a: 1\nb: [x, 'yes', 2.5, true, null, ~]\nc: {d: \"010\", e: -3}\nf:\n"
    document = read(text)
    assert document.problems == []
    assert document.value == {
        "a": 1,
        "b": ["x", "yes", 2.5, True, None, None],
        "c": {"d": "010", "e": -3},
        "f": None,
    }


def test_lines_of_fields_and_items() -> None:
    document = read(b"a:\n  b:\n    - x\n    - c: 1\n")
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "b", 1)) == 4
    assert document.line(("a", "b", 1, "missing")) == 4
    assert document.line(("nowhere",)) == 1


@pytest.mark.parametrize(
    "scalar",
    ["yes", "no", "on", "off", "True", "NULL", "010", "0x10", "0b1", "1_000", "1:30", ".inf",
     ".nan", "2024-01-01", "+1", "1.", "<<", "=", "99999999999999999999"],
)  # fmt: skip
def test_scalars_with_two_readings(scalar: str) -> None:
    document = read(f"a: 1\nb: {scalar}\n".encode())
    assert [(p.line, p.path) for p in document.problems] == [(2, ("b",))]


def test_all_duplicates_are_reported_with_both_lines() -> None:
    document = read(b"a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert [(p.line, p.path) for p in document.problems] == [(2, ("b", "c")), (3, ("a",))]
    assert "line 1" in document.problems[1].message


@pytest.mark.parametrize(
    "text",
    ["a: &x 1\nb: *x", "a: &x [1]", "a: !!python/object:os.system 1", "a: !t 1", "? [a]\n: 1",
     "1: a", "null: a", "true: a", "a: 1\n---\nb: 2", "a: [", "\ta: 1", "a: b: c", "", "# only",
     "a: \x01"],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    assert read(text.encode()).problems


def test_a_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert all("anchor or alias" in p.message for p in read("\n".join(lines).encode()).problems)


def test_depth_and_size_are_bounded() -> None:
    assert "levels" in read(b"[" * 5000).problems[0].message
    assert "bytes" in read(b"a" * (BYTES_MAX + 1)).problems[0].message


def test_bytes_that_are_no_utf8_have_their_line() -> None:
    assert read(b"a: 1\nb: \xff\n").problems[0].line == 2


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_no_input_raises(content: bytes) -> None:
    document = read(content)
    assert document.problems or document.value is not None or document.lines
