"""Issuing: evidence or a live SVID in, a recorded identity out, all in one transaction.

Invariants: nothing is issued that is not recorded, and what fails to be recorded is never sent; a
revoked workload, serial or key obtains nothing; a key that was certified for one workload or one
purpose is never certified for another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ca import revocations
from ca.attest import Attestor, PeerProcess
from ca.authority import Authority, Issued
from ca.entries import LIFETIME_S_MAX, Entry, find
from ca.refusal import Reason, Refused
from ca.revocations import Kind, serial_text
from ca.signing_request import SigningRequest
from ca.spiffe import jws
from ca.spiffe.ids import SpiffeId
from ca.spiffe.svid import X509Svid
from ca.store import Store

_KEEP_S: Final = LIFETIME_S_MAX + 3600.0  # the record of an SVID outlives it, for questions


class Issuing:
    """Blocking; the server calls it on the store's thread. `clock` gives POSIX seconds."""

    def __init__(
        self,
        store: Store,
        authority: Authority,
        attestors: Iterable[Attestor],
        lifetime_s: int,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._authority = authority
        self._attestors: Mapping[str, Attestor] = {one.name: one for one in attestors}
        self._lifetime_s = lifetime_s
        self._clock = clock

    def attest(
        self,
        attestor: str,
        evidence: Mapping[str, object],
        request: SigningRequest,
        peer: PeerProcess | None,
    ) -> Issued:
        """Issue a first identity for evidence; raise `Refused`, `StoreError`."""
        chosen = self._attestors.get(attestor)
        if chosen is None:
            known = ", ".join(sorted(self._attestors))
            raise Refused(Reason.UNKNOWN_ATTESTOR, f"use one of: {known}")
        now_s = self._clock()
        with self._store.transaction() as rows:
            candidates = chosen.attest(rows, evidence, peer, now_s)
            return self._issue(rows, _choose(candidates, request.name), request, now_s)

    def renew(self, svid: X509Svid, request: SigningRequest) -> Issued:
        """Issue the next identity of a verified, live SVID; raise `Refused`, `StoreError`."""
        now_s = self._clock()
        with self._store.transaction() as rows:
            check_live(rows, svid)
            if request.name not in (None, svid.id):
                raise Refused(Reason.OTHER_WORKLOAD, f"`csr` may only name {svid.id}")
            return self._issue(rows, svid.id, request, now_s)

    def issue_own(self, name: SpiffeId, request: SigningRequest) -> Issued:
        """Issue and record the authority's own TLS identity."""
        now_s = self._clock()
        with self._store.transaction() as rows:
            issued = self._authority.issue(
                name, request.key, request.hop_key, self._lifetime_s, now_s
            )
            _record(rows, issued, request, now_s)
            return issued

    def admit(self, svid: X509Svid) -> None:
        """Check that a verified SVID may open a control stream; raise `Refused`."""
        with self._store.snapshot() as rows:
            check_live(rows, svid)

    def _issue(
        self, rows: sqlite3.Connection, name: SpiffeId, request: SigningRequest, now_s: float
    ) -> Issued:
        entry = find(rows, name)
        if entry is None:
            raise Refused(Reason.NO_ENTRY, f"{name} is not registered")
        _check_revoked(
            rows,
            [
                (Kind.WORKLOAD, name.uri),
                (Kind.KEY, request.key_thumbprint),
                (Kind.KEY, request.hop_key_thumbprint),
            ],
        )
        _check_reuse(rows, name, request)
        issued = self._authority.issue(
            name, request.key, request.hop_key, self._lifetime(entry), now_s
        )
        _record(rows, issued, request, now_s)
        return issued

    def _lifetime(self, entry: Entry) -> int:
        return self._lifetime_s if entry.svid_lifetime_s is None else entry.svid_lifetime_s


def check_live(rows: sqlite3.Connection, svid: X509Svid) -> None:
    """Refuse an SVID that we did not record, whose entry is gone, or that is revoked."""
    serial = serial_text(svid.serial)
    row = rows.execute(
        "SELECT workload, hop_key_thumbprint FROM svids WHERE serial = ?", (serial,)
    ).fetchone()
    if row is None or row[0] != svid.id.uri:
        raise Refused(Reason.NOT_ISSUED, "attest again to obtain a recorded SVID")
    if find(rows, svid.id) is None:
        raise Refused(Reason.NO_ENTRY, f"{svid.id} is not registered")
    _check_revoked(
        rows,
        [
            (Kind.WORKLOAD, svid.id.uri),
            (Kind.SERIAL, serial),
            (Kind.KEY, key_thumbprint(svid)),
            (Kind.KEY, row[1]),
        ],
    )


def key_thumbprint(svid: X509Svid) -> str:
    """Return the RFC 7638 thumbprint of an SVID's key; refuse another kind than EC P-256."""
    key = svid.chain[0].public_key()
    try:
        return jws.thumbprint(jws.ec_jwk(key))  # type: ignore[arg-type]
    except (jws.JwsError, AttributeError) as error:
        raise Refused(Reason.UNAUTHENTICATED, "the SVID's key is not EC P-256") from error


def _choose(candidates: tuple[SpiffeId, ...], asked: SpiffeId | None) -> SpiffeId:
    """Pick the workload: the one that fits, or the one asked for among those that fit."""
    if asked is not None:
        if asked not in candidates:
            raise Refused(Reason.OTHER_WORKLOAD, f"the evidence does not prove {asked}")
        return asked
    if len(candidates) != 1:
        raise Refused(
            Reason.AMBIGUOUS, "name the workload in the URI subject alternative name of `csr`"
        )
    return candidates[0]


def _check_revoked(rows: sqlite3.Connection, names: list[tuple[Kind, str]]) -> None:
    kind = revocations.revoked(rows, names)
    if kind is not None:
        what = {Kind.WORKLOAD: "the workload", Kind.SERIAL: "the SVID"}.get(kind, "a key")
        raise Refused(Reason.REVOKED, f"{what} is revoked")


def _check_reuse(rows: sqlite3.Connection, name: SpiffeId, request: SigningRequest) -> None:
    taken = rows.execute(
        """SELECT 1 FROM svids WHERE (key_thumbprint = :key AND workload <> :name)
           OR (hop_key_thumbprint = :hop AND workload <> :name)
           OR key_thumbprint = :hop OR hop_key_thumbprint = :key""",
        {
            "key": request.key_thumbprint,
            "hop": request.hop_key_thumbprint,
            "name": name.uri,
        },
    ).fetchone()
    if taken is not None:
        raise Refused(Reason.KEY_REUSED, "make fresh keys for each workload and purpose")


def _record(
    rows: sqlite3.Connection, issued: Issued, request: SigningRequest, now_s: float
) -> None:
    rows.execute("DELETE FROM svids WHERE not_after_s < ?", (now_s - _KEEP_S,))
    rows.execute(
        "INSERT INTO svids VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            serial_text(issued.svid.serial),
            issued.svid.id.uri,
            now_s,
            issued.svid.not_after_s,
            request.key_thumbprint,
            request.hop_key_thumbprint,
            issued.wit.jti,
        ),
    )
