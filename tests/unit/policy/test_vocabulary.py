"""The list of functions is closed, and its conditions hold."""

from __future__ import annotations

import re

import pytest

from policy.vocabulary import GUARDS, NAMES, complaint

UNBOUNDED = [
    "bits.lsh",
    "net.cidr_expand",
    "numbers.range_step",
    "strings.repeat",
    "yaml.unmarshal",
]
OUTSIDE = ["http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "trace", "print"]
INEXACT = ["json.match_schema", "strings.count", "regex.split", "units.parse", "urlquery.decode"]


def text(value: str) -> dict[str, object]:
    return {"String": {"value": value}}


@pytest.mark.parametrize("name", UNBOUNDED + OUTSIDE + INEXACT + ["", "allow", "count "])
def test_not_listed_is_refused(name: str) -> None:
    assert name not in NAMES
    assert complaint(name, []) is not None


def test_every_guard_is_for_a_listed_function() -> None:
    assert GUARDS.keys() <= NAMES
    for pattern in GUARDS.values():
        re.compile(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "^/users/[0-9]+$",
        "a|b",
        "(?:a|b){2,3}?",
        "[^/]*",
        r"\.",
        "(?i)abc",
        "[a-z_-]",
        r"[\]\-]",
        "é",
    ],
)
def test_a_pattern_that_is_read_alike(pattern: str) -> None:
    assert complaint("regex.match", [text(pattern), {}]) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d",
        r"\w",
        r"\bx",
        r"\p{L}",
        r"\x41",
        r"\Qa\E",
        "a++",
        "(?x)a b",
        "(?P<n>a)",
        "[a&&b]",
        "[a--b]",
        "[a~~b]",
        "[[:alpha:]]",
        "a{1001}",
        "{",
        "[a",
        "(*a)",
    ],
)
def test_a_pattern_that_may_not_be(pattern: str) -> None:
    assert complaint("regex.match", [text(pattern), {}]) is not None


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_condition_never_breaks_on_missing_arguments(name: str) -> None:
    complaint(name, [])
