"""SPIFFE IDs and trust domains, parsed once into types and never normalised.

Invariants: a value of either type is valid to the letter of the SPIFFE-ID specification; two values
are equal exactly when their bytes are equal; nothing is lower-cased, percent-decoded or trimmed, so
a text that another implementation would "repair" into our name is refused here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NoReturn, Self, final

ID_BYTES_MAX: Final = 2048
TRUST_DOMAIN_BYTES_MAX: Final = 255
_REMEMBERED_MAX: Final = 1024
_SCHEME: Final = "spiffe://"
_NAME: Final = re.compile(r"[a-z0-9._-]+")
# SPIFFE-ID 2.2: no empty segment, no "." or "..", only letters, digits, dot, dash, underscore.
_ID: Final = re.compile(
    r"spiffe://([a-z0-9._-]+)((?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*)",
)


class SpiffeIdError(ValueError):
    """The text is not a SPIFFE ID or a trust domain name."""


class _Frozen:
    """No public constructor and no assignment: only `parse` of a subclass makes values."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError(f"use {type(self).__name__}.parse(text)")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")


@final
class TrustDomain(_Frozen):
    """The name of a trust domain, 1 to 255 bytes of `[a-z0-9._-]` (SPIFFE-ID 2.1)."""

    __slots__ = ("_hash", "name")
    name: str
    _hash: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a bare name (`shop.example`) or a whole SPIFFE ID; raise `SpiffeIdError`."""
        if text.startswith(_SCHEME):
            _match(text)
            name = text[len(_SCHEME) :].partition("/")[0]
        else:
            name = text
        if not 0 < len(name) <= TRUST_DOMAIN_BYTES_MAX or _NAME.fullmatch(name) is None:
            raise SpiffeIdError("not a trust domain name (1 to 255 of a-z 0-9 . _ -)")
        made = object.__new__(cls)
        object.__setattr__(made, "name", name)
        object.__setattr__(made, "_hash", hash(name))
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrustDomain) and self.name == other.name

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"TrustDomain({self.name!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (TrustDomain.parse, (self.name,))


@final
class SpiffeId(_Frozen):
    """`spiffe://<trust domain>[/<path>]`, at most 2048 bytes (SPIFFE-ID 2)."""

    __slots__ = ("_hash", "path", "trust_domain", "uri")
    trust_domain: TrustDomain
    path: str
    uri: str
    _hash: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take the exact URI text; `path` is `""` for the ID of the trust domain itself.

        Raises `SpiffeIdError` for everything that is not byte for byte a SPIFFE ID.
        """
        return cls._parse(text)

    @classmethod
    @lru_cache(maxsize=_REMEMBERED_MAX)
    def _parse(cls, text: str) -> Self:
        """Parse, remembering the names of a mesh: the same few come with every request."""
        found = _match(text)
        made = object.__new__(cls)
        object.__setattr__(made, "trust_domain", TrustDomain.parse(found[1]))
        object.__setattr__(made, "path", found[2])
        object.__setattr__(made, "uri", text)
        object.__setattr__(made, "_hash", hash(text))
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpiffeId) and self.uri == other.uri

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"SpiffeId({self.uri!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (SpiffeId.parse, (self.uri,))


def _match(text: str) -> re.Match[str]:
    if len(text) > ID_BYTES_MAX:  # every accepted character is one byte
        raise SpiffeIdError("a SPIFFE ID is at most 2048 bytes")
    found = _ID.fullmatch(text)
    if found is None or len(found[1]) > TRUST_DOMAIN_BYTES_MAX:
        raise SpiffeIdError("not a SPIFFE ID (spiffe://<trust domain>/<path>, no normalisation)")
    return found
