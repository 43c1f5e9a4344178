"""A grant is immutable, shrinks only, and shows no token."""

from __future__ import annotations

import copy
import pickle

import pytest

from policy.call import Call, Grant


def test_a_grant_shows_no_token(grant: Grant) -> None:
    assert "SECRET" not in repr(grant)
    assert "SECRET" not in str(grant)


def test_a_grant_is_immutable(grant: Grant) -> None:
    with pytest.raises(AttributeError):
        grant.scope = frozenset({"admin"})
    with pytest.raises(AttributeError):
        del grant.scope


def test_a_grant_is_not_serialised(grant: Grant) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(grant)
    with pytest.raises(TypeError):
        copy.copy(grant)


def test_narrowing_keeps_everything_else(grant: Grant) -> None:
    narrow = grant.narrowed(frozenset({"orders:read"}))
    assert narrow.scope == {"orders:read"}
    for name in Grant.__slots__:
        if name != "scope":
            assert getattr(narrow, name) is getattr(grant, name)


def test_narrowing_to_the_same_scope_is_the_same_grant(grant: Grant) -> None:
    assert grant.narrowed(grant.scope) is grant


def test_a_grant_never_widens(grant: Grant) -> None:
    with pytest.raises(ValueError, match="shrink"):
        grant.narrowed(grant.scope | {"admin"})


def test_a_call_shows_no_field_or_body(call: Call) -> None:
    secret = call._replace(fields=[(b"authorization", b"SECRET")], body=b"SECRET")
    assert "SECRET" not in repr(secret)
