"""The facts of one call and what its verified token grants: the vocabulary of a decision.

Invariants: a `Call` carries what was received, never what somebody wished; a `Grant` exists only
after its token chain was verified, and its scope can only shrink. Neither shows field values,
bodies or token texts in its `repr`, so neither can leak them into a log or a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, NoReturn, final

from ca.spiffe.ids import SpiffeId

Field = tuple[bytes, bytes]
"""One header field: lower-case name, value without surrounding white space."""


class Gate(StrEnum):
    """One direction of a sidecar."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Posture(StrEnum):
    """What a gate knows about the freshness of its own inputs."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    SEALED = "sealed"


@final
class Call(NamedTuple):
    """One request, parsed once, with its verified peer.

    Fields:
        gate: which gate judges.
        id: the decision id; unique per decision, safe to show to anybody.
        time_s: seconds since the epoch at which the head was complete.
        method, target, path, query: of the request line; `target` is origin-form `path?query`.
        host: lower-cased authority, `""` when HTTP/1.0 came without one.
        protocol: `"HTTP/1.1"`.
        fields: all request fields in order, hop-by-hop ones already removed.
        size: declared body size in bytes, 0 for none, -1 for unknown.
        body: the buffered body, `None` when it was not buffered.
        truncated: the body is longer than what was buffered.
        source: SPIFFE ID of the verified peer, `None` for a peer outside the mesh.
        source_address, destination_address: `(host, port)`.
        destination: SPIFFE ID of the workload the call goes to, if it is known.
        workload: the sidecar's own SPIFFE ID.
    """

    gate: Gate
    id: str
    time_s: float
    method: str
    target: str
    path: str
    query: str
    host: str
    protocol: str
    fields: Sequence[Field]
    size: int
    body: bytes | None
    truncated: bool
    source: SpiffeId | None
    source_address: tuple[str, int]
    destination: SpiffeId | None
    destination_address: tuple[str, int]
    workload: SpiffeId

    def __repr__(self) -> str:
        return f"Call({self.id} {self.gate} {self.method} from {self.source})"


@final
class Grant:
    """What a verified chain of tokens lets a call do. Immutable; its scope can only shrink.

    Fields:
        txn: transaction id. subject: pseudonymous `sub`. scope: opaque atoms.
        requesting_workload: `req_wl` of the root. issuer: who minted the root.
        expires_at_s: the earliest expiry of the chain, seconds since the epoch.
        hops: the workloads that signed the hops, in order; empty at the edge itself.
        context: `tctx` of the root; readers never change it.
        jti: id of the root, `""` when it has none.
        root, chain: the exact texts of `Txn-Token` and `Txn-Hops` (`""` without hops); secret.
    """

    __slots__ = (
        "chain",
        "context",
        "expires_at_s",
        "hops",
        "issuer",
        "jti",
        "requesting_workload",
        "root",
        "scope",
        "subject",
        "txn",
    )

    txn: str
    subject: str
    scope: frozenset[str]
    requesting_workload: SpiffeId
    issuer: SpiffeId
    expires_at_s: float
    hops: tuple[SpiffeId, ...]
    context: Mapping[str, object]
    jti: str
    root: str
    chain: str

    def __init__(
        self,
        *,
        txn: str,
        subject: str,
        scope: frozenset[str],
        requesting_workload: SpiffeId,
        issuer: SpiffeId,
        expires_at_s: float,
        hops: tuple[SpiffeId, ...],
        context: Mapping[str, object],
        root: str,
        chain: str,
        jti: str = "",
    ) -> None:
        _set_txn(self, txn)
        _set_subject(self, subject)
        _set_scope(self, scope)
        _set_requesting_workload(self, requesting_workload)
        _set_issuer(self, issuer)
        _set_expires_at_s(self, expires_at_s)
        _set_hops(self, hops)
        _set_context(self, context)
        _set_jti(self, jti)
        _set_root(self, root)
        _set_chain(self, chain)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a grant is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a grant is immutable: {name}")

    def __repr__(self) -> str:
        return f"Grant(txn={self.txn!r} scope={sorted(self.scope)!r} hops={len(self.hops)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a grant is not serialised: it holds token texts")

    def narrowed(self, scope: frozenset[str]) -> Grant:
        """The same grant with `scope`.

        Raises:
            ValueError: `scope` is not a subset of what is held.
        """
        if not scope <= self.scope:
            raise ValueError("a grant's scope can only shrink")
        if scope == self.scope:
            return self
        return Grant(
            txn=self.txn,
            subject=self.subject,
            scope=scope,
            requesting_workload=self.requesting_workload,
            issuer=self.issuer,
            expires_at_s=self.expires_at_s,
            hops=self.hops,
            context=self.context,
            jti=self.jti,
            root=self.root,
            chain=self.chain,
        )


# The slots' own setters: they pass by the frozen __setattr__ and cost half of
# object.__setattr__, and a grant is made for every call.
_slots: Final[Mapping[str, Any]] = vars(Grant)
_set_txn = _slots["txn"].__set__
_set_subject = _slots["subject"].__set__
_set_scope = _slots["scope"].__set__
_set_requesting_workload = _slots["requesting_workload"].__set__
_set_issuer = _slots["issuer"].__set__
_set_expires_at_s = _slots["expires_at_s"].__set__
_set_hops = _slots["hops"].__set__
_set_context = _slots["context"].__set__
_set_jti = _slots["jti"].__set__
_set_root = _slots["root"].__set__
_set_chain = _slots["chain"].__set__
