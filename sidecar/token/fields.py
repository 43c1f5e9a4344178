"""The two header fields of the token wire, and what a route demands of them (rule 1, rule 6).

Invariants: each field comes at most once; both come or none; a route that says nothing about
grants requires one.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from policy.call import Field
from policy.reason import Reason
from sidecar.token.refusal import TokenRefused

ROOT_FIELD: Final = b"txn-token"
HOPS_FIELD: Final = b"txn-hops"


class Requirement(StrEnum):
    """What a route says about grants."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    FORBIDDEN = "forbidden"


def read(fields: Iterable[Field]) -> tuple[str, str]:
    """Take `(root, hops)` from a request's fields, `""` for an absent one.

    Raises:
        TokenRefused: DUPLICATE_FIELD, TOKEN_MALFORMED for bytes outside ASCII or an empty value.
    """
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in (ROOT_FIELD, HOPS_FIELD):
            if name in found:
                raise TokenRefused(Reason.DUPLICATE_FIELD, name.decode("ascii"))
            if not value or not value.isascii():
                raise TokenRefused(Reason.TOKEN_MALFORMED, "empty or not ASCII")
            found[name] = value
    return found.get(ROOT_FIELD, b"").decode("ascii"), found.get(HOPS_FIELD, b"").decode("ascii")


def demand(requirement: Requirement, root: str, hops: str) -> bool:
    """Whether the fields are to be verified; `False` only when none came and none is required.

    Raises:
        TokenRefused: TOKEN_MISSING, TOKEN_FORBIDDEN, CHAIN_MISSING, CHAIN_ROOTLESS.
    """
    if not root and not hops:
        if requirement is Requirement.REQUIRED:
            raise TokenRefused(Reason.TOKEN_MISSING)
        return False
    if requirement is Requirement.FORBIDDEN:
        raise TokenRefused(Reason.TOKEN_FORBIDDEN)
    if not root:
        raise TokenRefused(Reason.CHAIN_ROOTLESS)
    if not hops:
        raise TokenRefused(Reason.CHAIN_MISSING)
    return True
