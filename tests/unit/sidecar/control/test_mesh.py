"""A message of the authority is applied entirely or not at all, and nothing goes back in time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sidecar.control.mesh import SECTIONS, ControlError, Mesh
from tests.support.identities import Identities, delta, revocations, service, workload

POLICY = {"revision": "x", "modules": {"a.rego": "package a"}, "data": {}}
NOW_S = time.time()


@pytest.fixture
def mesh(identities: Identities) -> Mesh:
    made = Mesh(workload("orders"), identities.bundle)
    made.apply(
        identities.snapshot(
            policy=POLICY,
            registry={"services": [service("orders", "127.0.0.1:1")]},
            issuers=identities.issuers("edge"),
            revocations=revocations(3, transactions=["t"]),
            pseudonyms={"key": "A" * 43},
        ),
        NOW_S,
    )
    return made


def state(mesh: Mesh) -> tuple[object, ...]:
    return mesh.trust, mesh.registry, mesh.policy, mesh.pseudonyms, mesh.sequence


def refused(mesh: Mesh, message: Any) -> None:
    """It is refused, and nothing of it took effect."""
    before = state(mesh)
    told: list[object] = []
    mesh.watch(told.append)
    with pytest.raises(ControlError):
        mesh.apply(message, NOW_S)
    assert state(mesh) == before
    assert not told


def test_before_the_first_message_only_the_bootstrap_is_known(identities: Identities) -> None:
    mesh = Mesh(workload("orders"), identities.bundle)
    assert mesh.bundle == identities.bundle
    assert (len(mesh.registry), mesh.policy, mesh.trust.issuers) == (0, None, None)


def test_a_snapshot_is_everything(mesh: Mesh) -> None:
    assert mesh.sequence == 1
    assert mesh.policy is not None
    assert mesh.pseudonyms is not None
    assert mesh.registry.find("orders") is not None
    assert mesh.trust.issuers is not None
    assert mesh.trust.revocations.transactions == {"t"}


def test_a_delta_changes_its_sections_and_tells(mesh: Mesh) -> None:
    told: list[frozenset[str]] = []
    mesh.watch(told.append)
    before, version = mesh.registry, mesh.trust.bundle_sequence
    mesh.apply(delta(2, revocations=revocations(4), policy=None), NOW_S)
    assert told == [frozenset({"revocations", "policy"})]
    assert mesh.policy is None
    assert mesh.registry is before
    assert mesh.trust.issuers is not None
    assert mesh.trust.bundle_sequence > version
    assert (mesh.trust.revocations.epoch, mesh.sequence) == (4, 2)


def test_a_later_snapshot_may_count_from_one_again(mesh: Mesh, identities: Identities) -> None:
    mesh.apply(delta(2, policy=None), NOW_S)
    mesh.apply(identities.snapshot(1, revocations=revocations(3)), NOW_S)
    assert mesh.sequence == 1


@pytest.mark.parametrize("sequence", [1, 0, -1, 3, 99, "2", 2.0, None, True])
def test_a_delta_out_of_order_is_refused(mesh: Mesh, sequence: Any) -> None:
    refused(mesh, delta(sequence, policy=None))


def test_a_delta_before_any_snapshot_is_refused(identities: Identities) -> None:
    refused(Mesh(workload("orders"), identities.bundle), delta(0, policy=None))


@pytest.mark.parametrize("missing", sorted(SECTIONS))
def test_a_snapshot_without_a_section_is_refused(
    mesh: Mesh, identities: Identities, missing: str
) -> None:
    message = identities.snapshot(2, revocations=revocations(3))
    del message["sections"][missing]
    refused(mesh, message)


@pytest.mark.parametrize("message", [{}, {"type": "snapshot"}, {"type": "else", "sequence": 2}])
def test_what_is_no_message_is_refused(mesh: Mesh, message: Any) -> None:
    refused(mesh, message)
    refused(mesh, {"type": "delta", "sequence": 2, "sections": []})


BROKEN: list[tuple[str, Any]] = [
    ("bundles", None),
    ("bundles", []),
    ("bundles", {}),
    ("bundles", {"shop.example": None}),
    ("bundles", {"shop.example": {}}),
    ("bundles", {"shop.example": {"keys": [None]}}),
    ("bundles", {"SHOP": {"keys": []}}),
    ("bundles", {"other.example": {"keys": []}}),
    ("policy", []),
    ("policy", {}),
    ("policy", {**POLICY, "modules": []}),
    ("policy", {**POLICY, "modules": {"a.rego": 1}}),
    ("policy", {**POLICY, "data": []}),
    ("registry", None),
    ("registry", {"services": [{}]}),
    ("issuers", 7),
    ("issuers", ""),
    ("issuers", "a.b.c"),
    ("revocations", None),
    ("revocations", {}),
    ("revocations", revocations(2)),
    ("revocations", revocations(True)),
    ("revocations", revocations(4, serials=["xyz"])),
    ("revocations", revocations(4, workloads=["orders"])),
    ("revocations", {**revocations(4), "tokens": [1]}),
    ("pseudonyms", []),
    ("pseudonyms", {}),
    ("pseudonyms", {"key": "short"}),
]


@pytest.mark.parametrize(("section", "value"), BROKEN)
def test_one_broken_section_refuses_all_of_them(mesh: Mesh, section: str, value: Any) -> None:
    good = {"policy": None, "registry": {"services": []}}
    refused(mesh, delta(2, **{**good, section: value}))


def test_the_bundle_sequence_does_not_go_back(mesh: Mesh, identities: Identities) -> None:
    document = identities.bundle.document()
    sequence = identities.bundle.sequence
    domain = identities.domain
    mesh.apply(delta(2, bundles={domain: {**document, "spiffe_sequence": sequence + 5}}), NOW_S)
    refused(mesh, delta(3, bundles={domain: {**document, "spiffe_sequence": sequence + 4}}))


def test_an_issuer_list_of_another_authority_is_refused(mesh: Mesh, strangers: Identities) -> None:
    refused(mesh, delta(2, issuers=strangers.issuers("edge")))


def test_an_issuer_list_that_expired_is_refused(mesh: Mesh, identities: Identities) -> None:
    message = delta(2, issuers=identities.issuers("edge"))
    before = state(mesh)
    with pytest.raises(ControlError):
        mesh.apply(message, NOW_S + 10 * 86_400)
    assert state(mesh) == before


def test_one_listener_that_fails_keeps_nothing_from_the_others(mesh: Mesh) -> None:
    """A revocation takes effect everywhere, and the stream ends, to begin anew."""
    told: list[object] = []

    def fails(_changed: frozenset[str]) -> None:
        raise OSError("no more descriptors")

    mesh.watch(fails)
    mesh.watch(told.append)
    with pytest.raises(ControlError, match="took no effect"):
        mesh.apply(delta(2, revocations=revocations(5)), NOW_S)
    assert told
    assert mesh.trust.revocations.epoch == 5
