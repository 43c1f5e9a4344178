"""Who may be here, now: looked at again on every use."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca.spiffe.svid import SvidError
from policy.reason import Reason
from sidecar.control.mesh import Mesh
from sidecar.http.head import Refused
from sidecar.identity.admission import Admission
from sidecar.identity.credentials import Credentials
from sidecar.identity.peer import peer_of
from sidecar.net.clock import ManualClock
from tests.support.identities import Identities, revocations, workload


class Bench:
    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.held = identities.credentials("orders")
        self.clock = ManualClock(self.held.obtained_s)
        self.mesh = Mesh(workload("edge"), identities.bundle)
        self.admission = Admission(self.mesh, self.clock)
        self.der = der(self.held)

    def tell(self, **sections: object) -> None:
        message = self.identities.snapshot(1, **sections)
        self.mesh.apply(message, self.clock.time_s())


def der(held: Credentials) -> bytes:
    return held.svid.chain[0].public_bytes(Encoding.DER)


@pytest.fixture
def bench(identities: Identities) -> Bench:
    return Bench(identities)


def refusal(bench: Bench, certificate: bytes | None) -> Reason:
    with pytest.raises(Refused) as info:
        bench.admission.admit(certificate)
    return info.value.reason


def test_a_peer_of_the_mesh(bench: Bench) -> None:
    peer = bench.admission.admit(bench.der)
    assert peer.id == workload("orders")
    assert bench.admission.admit_only(workload("orders"), bench.der) == peer
    assert bench.admission.good(peer, bench.clock.time_s())


def test_nobody(bench: Bench) -> None:
    assert refusal(bench, None) is Reason.PEER_UNVERIFIED
    assert not bench.admission.good(None, bench.clock.time_s())
    with pytest.raises(SvidError):
        bench.admission.admit(b"")


def test_another_domain(bench: Bench, strangers: Identities) -> None:
    assert refusal(bench, der(strangers.credentials("orders"))) is Reason.PEER_UNVERIFIED


def test_another_workload_than_expected(bench: Bench) -> None:
    with pytest.raises(Refused) as info:
        bench.admission.admit_only(workload("payments"), bench.der)
    assert info.value.reason is Reason.DESTINATION_IDENTITY


def test_an_svid_ends_at_its_instant(bench: Bench) -> None:
    peer = bench.admission.admit(bench.der)
    assert bench.admission.good(peer, peer.not_after_s - 0.001)
    assert not bench.admission.good(peer, peer.not_after_s)
    bench.clock.now_s = peer.not_after_s
    assert refusal(bench, bench.der) is Reason.PEER_EXPIRED


@pytest.mark.parametrize("what", ["serials", "workloads", "keys"])
def test_whoever_was_revoked(bench: Bench, what: str) -> None:
    peer = peer_of(bench.der)
    named = {"serials": f"{peer.serial:X}", "workloads": peer.id.uri, "keys": peer.key}
    other = {"serials": "1", "workloads": peer.id.uri + "/x", "keys": "x"}
    bench.tell(revocations=revocations(1, **{what: [other[what]]}))
    assert bench.admission.good(peer, bench.clock.time_s())
    bench.tell(revocations=revocations(2, **{what: [named[what]]}))
    assert not bench.admission.good(peer, bench.clock.time_s())
    assert refusal(bench, bench.der) is Reason.PEER_REVOKED


def test_a_bundle_without_roots_revokes_everybody(bench: Bench) -> None:
    peer = bench.admission.admit(bench.der)
    document = bench.identities.bundle.document()
    keys = [key for key in document["keys"] if key["use"] != "x509-svid"]  # type: ignore[attr-defined]
    bench.tell(bundles={bench.identities.domain: {**document, "keys": keys}})
    assert not bench.admission.good(peer, bench.clock.time_s())
    assert refusal(bench, bench.der) is Reason.PEER_UNVERIFIED
