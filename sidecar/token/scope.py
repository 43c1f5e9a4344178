"""Scopes: sets of opaque atoms, written space separated (RFC 6749 section 3.3).

Invariants: an atom is compared byte for byte and never interpreted; the empty scope is a scope.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

ATOMS_MAX: Final = 64
SCOPE_CHARS_MAX: Final = 1024
_ATOM: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_SCOPE: Final = re.compile(rf"(?:{_ATOM.pattern}(?: {_ATOM.pattern})*)?")
NOTHING: Final[frozenset[str]] = frozenset()


class ScopeError(ValueError):
    """The value is not a scope."""


def parse_scope(text: object) -> frozenset[str]:
    """Read a `scope` claim; `""` is the empty scope.

    Raises:
        ScopeError: not a text, a stray space, a forbidden character, an atom twice, too long.
    """
    if not isinstance(text, str) or len(text) > SCOPE_CHARS_MAX:
        raise ScopeError("a scope is a bounded text")
    if _SCOPE.fullmatch(text) is None:
        raise ScopeError("a scope is atoms with single spaces between them")
    return _distinct(text.split())


def scope_of(atoms: Collection[object]) -> frozenset[str]:
    """Make a scope from a list of atoms, as in the issuer list and in `scp`.

    Raises:
        ScopeError: an item is not an atom, comes twice, or there are too many.
    """
    texts = [atom for atom in atoms if isinstance(atom, str) and _ATOM.fullmatch(atom)]
    if len(texts) != len(atoms):
        raise ScopeError("not a list of scope atoms")
    return _distinct(texts)


def format_scope(scope: frozenset[str]) -> str:
    """Write a scope as a claim: sorted, so that equal scopes give equal bytes."""
    return " ".join(sorted(scope))


def _distinct(atoms: list[str]) -> frozenset[str]:
    scope = frozenset(atoms)
    if len(scope) != len(atoms) or len(scope) > ATOMS_MAX:
        raise ScopeError("a scope is at most 64 different atoms")
    return scope
