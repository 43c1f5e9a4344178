"""What passes a door and what stays outside: the one table of identity fields.

A value that arrives in one of these fields is a claim by whoever sent it, so it never reaches an
application or another gate; the gate sets its own. A name that differs from one of them only by `_`
for `-` counts as the same name: WSGI and CGI applications cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from policy.reason import Reason
from sidecar.http.head import Field, Refused

NAMES_REMEMBERED: Final = 1024
NAME_BYTES_REMEMBERED: Final = 64

# What a door does with a field. Plain integers, because an Enum member costs too much here.
PLAIN: Final = 0
DROPPED: Final = 1
ROOT: Final = 2
HOPS: Final = 3
TRACEPARENT: Final = 4
TRACESTATE: Final = 5
REQUEST_ID: Final = 6
AUTHORIZATION: Final = 7
FORWARDED: Final = 8

_KINDS: Final = {
    b"txn-token": ROOT,
    b"txn-hops": HOPS,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"x-request-id": REQUEST_ID,
    b"authorization": AUTHORIZATION,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED,
    b"x-forwarded-host": FORWARDED,
    b"x-forwarded-port": FORWARDED,
    b"x-forwarded-proto": FORWARDED,
    b"x-real-ip": FORWARDED,
    b"x-forwarded-client-cert": DROPPED,
    b"l5d-client-id": DROPPED,
    b"l5d-remote-ip": DROPPED,
    b"l5d-server-id": DROPPED,
    b"x-pomerium-jwt-assertion": DROPPED,
    b"x-pomerium-claim-email": DROPPED,
    b"x-jwt-payload": DROPPED,
}
_DROPPED_PREFIXES: Final = (b"x-narrowgate-", b"x-envoy-", b"x-istio-", b"x-pomerium-")


_known: Final[dict[bytes, int]] = dict(_KINDS)


def kind_of(name: bytes) -> int:
    """What a door does with the field of this lower-case name."""
    known = _known.get(name)
    if known is not None:
        return known
    kind = _look(name)
    if len(_known) < NAMES_REMEMBERED and len(name) <= NAME_BYTES_REMEMBERED:
        _known[name] = kind
    return kind


def _look(name: bytes) -> int:
    folded = name.replace(b"_", b"-")
    if folded in _KINDS or folded.startswith(_DROPPED_PREFIXES):
        return DROPPED
    return PLAIN


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
        self.seen = 0  # one bit for each kind of which only a lone field counts
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
    keep = found.plain.append
    known = _known.get
    for field in fields:
        kind = known(field[0])
        if kind is None:
            kind = kind_of(field[0])
        if kind == PLAIN:
            keep(field)
        elif kind == FORWARDED:
            if from_mesh:
                keep(field)
        elif kind != DROPPED:
            _single(found, kind, field[1])
            if kind == AUTHORIZATION and keep_authorization:
                keep(field)
    return found


def _single(found: Carried, kind: int, value: bytes) -> None:
    if kind == REQUEST_ID:
        found.request_id = _lone(found, kind, value)
    elif kind == TRACEPARENT:
        # A second one makes the trace unusable, not the request (W3C trace context 3.2).
        found.traceparent = _lone(found, kind, value)
    elif kind == TRACESTATE:
        found.tracestate = b",".join(filter(None, (found.tracestate, value)))
    elif kind == ROOT:
        _once(found.root)
        found.root = value or b" "
    elif kind == HOPS:
        _once(found.hops)
        found.hops = value or b" "
    else:
        _once(found.authorization)
        found.authorization = value or b" "


def _lone(found: Carried, kind: int, value: bytes) -> bytes:
    """The value of a field that came once; a second one makes all of them unusable."""
    if found.seen & (1 << kind):
        return b""
    found.seen |= 1 << kind
    return value


def _once(already: bytes) -> None:
    if already:
        raise Refused(Reason.DUPLICATE_FIELD, "an identity field came twice")
