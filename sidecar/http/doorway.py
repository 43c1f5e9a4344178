"""What passes a door and what stays outside: the one table of identity fields.

A value that arrives in one of these fields is a claim by whoever sent it, so it never reaches an
application or another gate; the gate sets its own. A name that differs from one of them only by `_`
for `-` counts as the same name: WSGI and CGI applications cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Final

from policy.reason import Reason
from sidecar.http.head import Field, Refused

NAMES_REMEMBERED: Final = 1024


class Kind(IntEnum):
    """What a door does with a field."""

    PLAIN = 0
    DROPPED = 1
    ROOT = 2
    HOPS = 3
    TRACEPARENT = 4
    TRACESTATE = 5
    REQUEST_ID = 6
    AUTHORIZATION = 7
    FORWARDED = 8


_KINDS: Final = {
    b"txn-token": Kind.ROOT,
    b"txn-hops": Kind.HOPS,
    b"traceparent": Kind.TRACEPARENT,
    b"tracestate": Kind.TRACESTATE,
    b"x-request-id": Kind.REQUEST_ID,
    b"authorization": Kind.AUTHORIZATION,
    b"forwarded": Kind.FORWARDED,
    b"x-forwarded-for": Kind.FORWARDED,
    b"x-forwarded-host": Kind.FORWARDED,
    b"x-forwarded-port": Kind.FORWARDED,
    b"x-forwarded-proto": Kind.FORWARDED,
    b"x-forwarded-client-cert": Kind.DROPPED,
    b"l5d-client-id": Kind.DROPPED,
    b"l5d-remote-ip": Kind.DROPPED,
    b"l5d-server-id": Kind.DROPPED,
    b"x-pomerium-jwt-assertion": Kind.DROPPED,
    b"x-pomerium-claim-email": Kind.DROPPED,
    b"x-jwt-payload": Kind.DROPPED,
}
_DROPPED_PREFIXES: Final = (b"x-narrowgate-", b"x-envoy-", b"x-istio-", b"x-pomerium-")


@lru_cache(maxsize=NAMES_REMEMBERED)
def kind_of(name: bytes) -> Kind:
    """What a door does with the field of this lower-case name."""
    exact = _KINDS.get(name)
    if exact is not None:
        return exact
    folded = name.replace(b"_", b"-")
    alias = _KINDS.get(folded, Kind.PLAIN)
    if alias is not Kind.PLAIN or folded.startswith(_DROPPED_PREFIXES):
        return Kind.DROPPED
    return Kind.PLAIN


class Carried:
    """What came through a door: the plain fields, and the values the gate itself looks at."""

    __slots__ = (
        "authorization",
        "hops",
        "plain",
        "request_id",
        "root",
        "seen",
        "traceparent",
        "tracestate",
    )

    def __init__(self) -> None:
        self.plain: list[Field] = []
        self.seen: set[Kind] = set()
        self.root = b""
        self.hops = b""
        self.traceparent = b""
        self.tracestate = b""
        self.request_id = b""
        self.authorization = b""


def carried(fields: Iterable[Field], *, from_mesh: bool, keep_authorization: bool) -> Carried:
    """Sort the fields of a request.

    Args:
        from_mesh: an authenticated gate sent it: proxy fields (`x-forwarded-for`) pass.
        keep_authorization: pass `authorization` on too (it is always in `Carried`).

    Raises:
        Refused: DUPLICATE_FIELD for a second field of a kind that must be single.
    """
    found = Carried()
    plain = found.plain
    for field in fields:
        kind = kind_of(field[0])
        if kind is Kind.PLAIN:
            plain.append(field)
        elif kind is Kind.FORWARDED:
            if from_mesh:
                plain.append(field)
        elif kind is not Kind.DROPPED:
            _single(found, kind, field[1])
            if kind is Kind.AUTHORIZATION and keep_authorization:
                plain.append(field)
    return found


def _single(found: Carried, kind: Kind, value: bytes) -> None:
    match kind:
        case Kind.ROOT:
            _once(found.root)
            found.root = value or b" "
        case Kind.HOPS:
            _once(found.hops)
            found.hops = value or b" "
        case Kind.AUTHORIZATION:
            _once(found.authorization)
            found.authorization = value or b" "
        case Kind.TRACEPARENT:
            # A second one makes the trace unusable, not the request (W3C trace context 3.2).
            found.traceparent = _lone(found, kind, value)
        case Kind.TRACESTATE:
            found.tracestate = b",".join(filter(None, (found.tracestate, value)))
        case _:
            found.request_id = _lone(found, kind, value)


def _lone(found: Carried, kind: Kind, value: bytes) -> bytes:
    """The value of a field that came once; a second one makes each of them unusable."""
    if kind in found.seen:
        return b""
    found.seen.add(kind)
    return value


def _once(already: bytes) -> None:
    if already:
        raise Refused(Reason.DUPLICATE_FIELD, "an identity field came twice")
