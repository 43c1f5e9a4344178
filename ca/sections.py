"""What each workload is told: the sections of the control stream, read from one store snapshot.

Invariants: a view is immutable and consistent; a section is always sent whole; secrets (the
pseudonym key) go to workloads on the issuer list only; the issuer list is signed again when it
changes and at half of its life, so that a live stream never holds an expired one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ca import entries, issuers, policies, revocations
from ca.authority import ISSUERS_LIFETIME_S, Authority, IssuerRule
from ca.entries import Entry
from ca.issuing import key_thumbprint
from ca.refusal import Refused
from ca.revocations import Kind, serial_text
from ca.spiffe.ids import SpiffeId
from ca.spiffe.svid import X509Svid
from ca.store import Store

Sections = dict[str, object]


@dataclass(frozen=True, slots=True)
class View:
    """One state of the mesh, as far as control streams show it."""

    shared: Mapping[str, object]
    policies: Mapping[str, Mapping[str, object]]
    workloads: frozenset[SpiffeId]
    edges: frozenset[SpiffeId]
    pseudonyms: Mapping[str, str] = field(repr=False)
    revoked: Mapping[Kind, frozenset[str]]
    hop_keys: Mapping[str, str]  # serial -> hop key thumbprint, for revoked keys only

    def sections_for(self, workload: SpiffeId) -> Sections:
        """Return every section as this workload sees it."""
        default = self.policies.get(policies.DEFAULT)
        return {
            **self.shared,
            "policy": self.policies.get(workload.uri, default),
            "pseudonyms": self.pseudonyms if workload in self.edges else None,
        }

    def admits(self, svid: X509Svid, now_s: float) -> bool:
        """Whether a stream that this SVID opened may stay open."""
        serial = serial_text(svid.serial)
        try:
            key = key_thumbprint(svid)
        except Refused:
            return False
        return (
            now_s < svid.not_after_s
            and svid.id in self.workloads
            and svid.id.uri not in self.revoked[Kind.WORKLOAD]
            and serial not in self.revoked[Kind.SERIAL]
            and key not in self.revoked[Kind.KEY]
            and serial not in self.hop_keys
        )


class Views:
    """Makes views; blocking, used on the store's thread. `clock` gives POSIX seconds."""

    def __init__(self, store: Store, authority: Authority, clock: Callable[[], float]) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._version = -1
        self._view: View | None = None
        self._rules: list[IssuerRule] | None = None
        self._signed = ""
        self._signed_s = 0.0

    def current(self) -> View:
        """Return the view of now: the same object as before unless something may have changed."""
        version = self._store.data_version()
        due = self._clock() >= self._signed_s + ISSUERS_LIFETIME_S / 2
        if self._view is None or version != self._version or due:
            self._view = self._read()
            self._version = version
        return self._view

    def _read(self) -> View:
        with self._store.snapshot() as rows:
            known = entries.every(rows)
            rules = issuers.every(rows)
            revoked = revocations.section(rows)
            hop_keys = rows.execute(
                """SELECT serial, hop_key_thumbprint FROM svids JOIN revocations
                   ON kind = ? AND value = hop_key_thumbprint""",
                (Kind.KEY,),
            ).fetchall()
            own = policies.sections(rows)
        secret = self._authority.pseudonym_secret()
        return View(
            shared={
                "bundles": {self._authority.trust_domain.name: self._authority.bundle.document()},
                "registry": _registry(known),
                "issuers": self._issuers(rules),
                "revocations": revoked,
            },
            policies=own,
            workloads=frozenset(entry.id for entry in known),
            edges=frozenset(rule.workload for rule in rules),
            pseudonyms={"key": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()},
            revoked={kind: _texts(revoked[kind.value]) for kind in Kind},
            hop_keys=dict(hop_keys),
        )

    def _issuers(self, rules: list[IssuerRule]) -> str:
        now_s = self._clock()
        if rules != self._rules or now_s >= self._signed_s + ISSUERS_LIFETIME_S / 2:
            self._signed = self._authority.sign_issuers(rules, now_s)
            self._signed_s = now_s
            self._rules = rules
        return self._signed


SECTIONS: Final = ("bundles", "policy", "registry", "issuers", "revocations", "pseudonyms")


def _registry(known: list[Entry]) -> Mapping[str, object]:
    return {
        "services": [
            {"id": entry.id.uri, "hosts": list(entry.hosts), "endpoints": list(entry.endpoints)}
            for entry in known
            if entry.hosts or entry.endpoints
        ]
    }


def _texts(values: object) -> frozenset[str]:
    return frozenset(values) if isinstance(values, list) else frozenset()
