"""Fields that claim an identity stay outside, however they are spelt."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http import doorway
from sidecar.http.doorway import NAMES_REMEMBERED, PLAIN, Carried, carried, kind_of
from sidecar.http.head import Field, Refused

IDENTITY = [b"txn-token", b"txn-hops", b"authorization"]
CLAIMS = [
    b"x-forwarded-client-cert",
    b"l5d-client-id",
    b"l5d-server-id",
    b"x-jwt-payload",
    b"x-narrowgate-reason",
    b"x-narrowgate-anything",
    b"x-envoy-peer-metadata",
    b"x-istio-attributes",
    b"x-pomerium-claim-groups",
]
PROXY = [b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"]


def sort(*fields: Field, from_mesh: bool = True, keep_authorization: bool = False) -> Carried:
    return carried(fields, from_mesh=from_mesh, keep_authorization=keep_authorization)


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("from_mesh", [True, False])
def test_claims_never_pass(name: bytes, from_mesh: bool) -> None:
    found = sort((name, b"1"), (b"accept", b"*/*"), from_mesh=from_mesh)
    assert found.plain == [(b"accept", b"*/*")]


@pytest.mark.parametrize("name", [*CLAIMS, *IDENTITY, *PROXY, b"x-request-id", b"traceparent"])
def test_an_underscore_is_the_same_name(name: bytes) -> None:
    if b"-" not in name:
        pytest.skip("no hyphen to replace")
    spelt = name.replace(b"-", b"_")
    found = sort((spelt, b"1"))
    assert found.plain == []
    assert (found.root, found.hops, found.authorization, found.request_id) == (b"",) * 4
    mixed = name.replace(b"-", b"_", 1)
    assert sort((mixed, b"1")).plain == []


@pytest.mark.parametrize("name", IDENTITY)
def test_two_identity_fields_are_refused_even_when_empty(name: bytes) -> None:
    for values in ((b"a", b"b"), (b"", b"b"), (b"a", b""), (b"", b"")):
        with pytest.raises(Refused) as caught:
            sort((name, values[0]), (name, values[1]))
        assert caught.value.reason is Reason.DUPLICATE_FIELD


def test_identity_fields_are_taken_out() -> None:
    found = sort((b"txn-token", b"t"), (b"txn-hops", b"h"), (b"authorization", b"Bearer x"))
    assert (found.root, found.hops, found.authorization) == (b"t", b"h", b"Bearer x")
    assert found.plain == []
    empty = sort((b"txn-token", b""))
    assert empty.root


def test_authorization_passes_where_it_is_the_applications() -> None:
    field = (b"authorization", b"Basic eA==")
    assert sort(field, keep_authorization=True).plain == [field]
    assert sort(field, keep_authorization=True).authorization == field[1]


@pytest.mark.parametrize("name", PROXY)
def test_proxy_fields_pass_from_the_mesh_only(name: bytes) -> None:
    field = (name, b"x")
    assert sort(field).plain == [field]
    assert sort(field, from_mesh=False).plain == []


@pytest.mark.parametrize("times", [2, 3, 4, 5])
def test_several_trace_or_request_ids_are_none(times: int) -> None:
    ids = [(b"x-request-id", b"r"), (b"traceparent", b"t")] * times
    found = sort(*ids)
    assert (found.request_id, found.traceparent) == (b"", b"")
    assert found.plain == []


def test_one_trace_is_kept_and_its_states_are_joined() -> None:
    found = sort(
        (b"traceparent", b"t"),
        (b"x-request-id", b"r"),
        (b"tracestate", b"a=1"),
        (b"tracestate", b""),
    )
    assert (found.traceparent, found.request_id, found.tracestate) == (b"t", b"r", b"a=1")
    assert sort((b"tracestate", b"a=1"), (b"tracestate", b"b=2")).tracestate == b"a=1,b=2"


def test_plain_fields_keep_their_order() -> None:
    fields = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert sort(*fields).plain == fields


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "_known", dict(doorway._known))
    long = b"x" * 10_000
    assert kind_of(long) == PLAIN
    assert long not in doorway._known
    for index in range(2 * NAMES_REMEMBERED):
        assert kind_of(b"x-%d" % index) == PLAIN
    assert len(doorway._known) <= NAMES_REMEMBERED
    assert kind_of(b"x_narrowgate_new") == doorway.DROPPED
