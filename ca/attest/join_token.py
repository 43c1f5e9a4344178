"""Join tokens: a secret, given to one workload out of band, that is good for one SVID.

Invariants: a token is 256 random bits and only its SHA-256 is stored; it expires; it is used up in
the transaction that records the SVID issued for it, so a replay finds it used and a failure leaves
it usable.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Final

from ca.attest import PeerProcess
from ca.entries import EntryError, require
from ca.refusal import Reason, Refused
from ca.spiffe.ids import SpiffeId

TTL_S_MAX: Final = 7 * 24 * 3600
_PREFIX: Final = "ngj_"
_TOKEN_CHARS_MAX: Final = 128
_KEEP_S: Final = 24 * 3600.0


def create(rows: sqlite3.Connection, name: SpiffeId, ttl_s: float, now_s: float) -> str:
    """Make a token for a registered workload and return it, the only time it is ever seen."""
    require(rows, name)
    if not 0 < ttl_s <= TTL_S_MAX:
        raise EntryError(f"a join token lives 1 to {TTL_S_MAX} seconds")
    rows.execute("DELETE FROM join_tokens WHERE expires_s < ?", (now_s - _KEEP_S,))
    token = _PREFIX + secrets.token_urlsafe(32)
    rows.execute(
        "INSERT INTO join_tokens VALUES (?, ?, ?, NULL)", (_hash(token), name.uri, now_s + ttl_s)
    )
    return token


class JoinTokenAttestor:
    """Evidence `{"token": "..."}`."""

    name: Final = "join_token"

    def attest(
        self,
        rows: sqlite3.Connection,
        evidence: Mapping[str, object],
        peer: PeerProcess | None,
        now_s: float,
    ) -> tuple[SpiffeId, ...]:
        """Use the token up and return its workload; raise `Refused`."""
        token = evidence.get("token")
        if not isinstance(token, str) or len(token) > _TOKEN_CHARS_MAX or len(evidence) != 1:
            raise Refused(Reason.MALFORMED, 'the evidence is {"token": "..."}')
        digest = _hash(token)
        row = rows.execute(
            "SELECT workload, expires_s, used_s FROM join_tokens WHERE hash = ?", (digest,)
        ).fetchone()
        if row is None:
            raise Refused(Reason.ATTESTATION, f"the join token is unknown: {_NEXT}")
        workload, expires_s, used_s = row
        if used_s is not None:
            raise Refused(Reason.TOKEN_USED, f"a join token is good for one SVID: {_NEXT}")
        if now_s >= expires_s:
            raise Refused(Reason.TOKEN_EXPIRED, _NEXT)
        rows.execute("UPDATE join_tokens SET used_s = ? WHERE hash = ?", (now_s, digest))
        return (SpiffeId.parse(workload),)


_NEXT: Final = "make a new one with `narrowgate ca token create`"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
