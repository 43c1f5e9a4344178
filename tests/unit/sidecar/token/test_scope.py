"""Scopes are read strictly and written the same way every time."""

from __future__ import annotations

import pytest

from sidecar.token.scope import ScopeError, format_scope, parse_scope, scope_of


def test_scope_is_a_set_of_atoms() -> None:
    assert parse_scope("b a:read") == {"a:read", "b"}
    assert parse_scope("") == frozenset()
    assert format_scope(frozenset({"b", "a"})) == "a b"
    assert format_scope(frozenset()) == ""
    assert scope_of(["a", "b"]) == {"a", "b"}
    assert scope_of([]) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        ["a"],
        " ",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "a\n",
        "a a",
        'a"',
        "a\\",
        "é",
        "a\x7f",
        "a" * 1025,
        " ".join(f"s{number}" for number in range(65)),
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ScopeError):
        parse_scope(text)


@pytest.mark.parametrize("atoms", [["a b"], [""], ["a", "a"], [1], [["a"]], ["a\n"]])
def test_list_of_anything_else_is_refused(atoms: list[object]) -> None:
    with pytest.raises(ScopeError):
        scope_of(atoms)
