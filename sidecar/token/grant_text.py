"""A grant as JSON, for one purpose: between the workers of one sidecar, over a private socket.

Invariants: what is read back is the grant that was written, or nothing. It holds token texts, so
it is never logged and never leaves the sidecar.
"""

from __future__ import annotations

from collections.abc import Mapping

from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import JwsError, numeric_date
from policy.call import Grant
from sidecar.token.scope import format_scope, parse_scope


def write(grant: Grant) -> dict[str, object]:
    """The members that `read` takes."""
    return {
        "txn": grant.txn,
        "sub": grant.subject,
        "scope": format_scope(grant.scope),
        "req_wl": grant.requesting_workload.uri,
        "iss": grant.issuer.uri,
        "exp": grant.expires_at_s,
        "hops": [hop.uri for hop in grant.hops],
        "tctx": dict(grant.context),
        "jti": grant.jti,
        "root": grant.root,
        "chain": grant.chain,
    }


def read(members: Mapping[str, object]) -> Grant:
    """Make the grant again.

    Raises:
        ValueError: a member is missing or broken.
    """
    hops, context = members.get("hops"), members.get("tctx")
    if not isinstance(hops, list) or not isinstance(context, dict):
        raise JwsError("claim", "not a grant")
    return Grant(
        txn=_text(members, "txn"),
        subject=_text(members, "sub"),
        scope=parse_scope(members.get("scope")),
        requesting_workload=SpiffeId.parse(_text(members, "req_wl")),
        issuer=SpiffeId.parse(_text(members, "iss")),
        expires_at_s=numeric_date(members, "exp"),
        hops=tuple(SpiffeId.parse(str(hop)) for hop in hops),
        context=context,
        jti=_text(members, "jti"),
        root=_text(members, "root"),
        chain=_text(members, "chain"),
    )


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise JwsError("claim", f"{name} is not a text")
    return value
