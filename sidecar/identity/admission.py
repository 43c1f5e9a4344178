"""Whether a peer may be here: verified once per connection, and looked at again on every use.

Invariants: an SVID of another trust domain, an expired or a revoked one is never admitted; a
connection that outlives its peer's SVID carries no further request.
"""

from __future__ import annotations

from ca.spiffe.ids import SpiffeId
from policy.reason import Reason
from sidecar.control.mesh import Mesh
from sidecar.http.head import Refused
from sidecar.identity.peer import Peer, peer_of
from sidecar.net.clock import Clock


class Admission:
    """Judges peers against what the mesh knows now."""

    def __init__(self, mesh: Mesh, clock: Clock) -> None:
        self._mesh = mesh
        self._clock = clock

    def admit(self, certificate: bytes | None) -> Peer:
        """The peer behind a certificate that TLS verified.

        Raises:
            SvidError: it is no X509-SVID.
            Refused: PEER_UNVERIFIED, PEER_EXPIRED, PEER_REVOKED.
        """
        if certificate is None:
            raise Refused(Reason.PEER_UNVERIFIED, "no certificate")
        peer = peer_of(certificate)
        self.check(peer, self._clock.time_s())
        return peer

    def admit_only(self, expected: SpiffeId, certificate: bytes | None) -> Peer:
        """The same, pinned to one identity. Raises `Refused` (DESTINATION_IDENTITY) for another."""
        peer = self.admit(certificate)
        if peer.id != expected:
            raise Refused(Reason.DESTINATION_IDENTITY, "another workload answered")
        return peer

    def check(self, peer: Peer, now_s: float) -> None:
        """Raise `Refused` when its SVID has expired or was revoked, or its domain is gone."""
        if now_s >= peer.not_after_s:
            raise Refused(Reason.PEER_EXPIRED, "the peer's SVID has expired")
        trust = self._mesh.trust
        bundle = trust.bundles.get(peer.id.trust_domain)
        if bundle is None or not bundle.x509_authorities:  # no keys: all of them are revoked
            raise Refused(Reason.PEER_UNVERIFIED, "another trust domain, or none any more")
        revoked = trust.revocations
        if (
            peer.serial in revoked.serials
            or (revoked.workloads and peer.id in revoked.workloads)
            or peer.key in revoked.keys
        ):
            raise Refused(Reason.PEER_REVOKED, "the peer was revoked")

    def good(self, peer: Peer | None, now_s: float) -> bool:
        """Whether `check` would pass."""
        if peer is None:
            return False
        try:
            self.check(peer, now_s)
        except Refused:
            return False
        return True
