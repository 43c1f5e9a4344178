"""The issuer list is the authority's, alive, and complete, or there is none."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe import jws
from sidecar.token.issuers import IssuerList, IssuerListError


def test_list_is_read(mesh: Any) -> None:
    issuers = mesh.issuers()
    ceiling = issuers.ceiling(mesh.workload("edge").id, mesh.now_s)
    assert ceiling.external_issuers == {"https://idp.example"}
    assert ceiling.scope == {"orders:read", "orders:write", "pay"}
    assert ceiling.lifetime_s_max == 60.0
    assert issuers.ceiling(mesh.workload("orders").id, mesh.now_s) is None


def test_list_lists_nobody_once_it_expired(mesh: Any) -> None:
    issuers = mesh.issuers(exp_s=mesh.now_s + 5)
    assert issuers.ceiling(mesh.workload("edge").id, mesh.now_s + 4.9) is not None
    assert issuers.ceiling(mesh.workload("edge").id, mesh.now_s + 5) is None
    with pytest.raises(IssuerListError):
        mesh.issuers(exp_s=mesh.now_s + 5, now_s=mesh.now_s + 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": "edge"},
        {"workload": 1},
        {"external_issuers": "https://idp.example"},
        {"external_issuers": [1]},
        {"external_issuers": ["a", "a"]},
        {"external_issuers": ["a\n"]},
        {"scope": "pay"},
        {"scope": ["pay", "pay"]},
        {"scope": ["a b"]},
        {"lifetime_s_max": 0},
        {"lifetime_s_max": True},
        {"lifetime_s_max": "60"},
        {"lifetime_s_max": 3601},
        {"lifetime_s_max": None},
    ],
)
def test_broken_entry_refuses_the_list(mesh: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(IssuerListError):
        mesh.issuers(**changes)


def test_only_a_bundle_key_signs_it(mesh: Any) -> None:
    claims = {"iat": 1, "exp": int(mesh.now_s) + 60, "issuers": []}
    stranger = ec.generate_private_key(ec.SECP256R1())
    typ = "narrowgate-issuers+jwt"
    for key, kind, headers in (
        (stranger, typ, {"kid": "authority-1"}),
        (mesh.authority_key, typ, {"kid": "other"}),
        (mesh.authority_key, typ, {}),
        (mesh.authority_key, "JWT", {"kid": "authority-1"}),
    ):
        text = jws.sign(claims, key, typ=kind, headers=headers)
        with pytest.raises(IssuerListError):
            IssuerList.parse(text, mesh.bundle, mesh.now_s)


@pytest.mark.parametrize("items", [None, {}, ["x"], [[]]])
def test_list_must_be_a_list_of_objects(mesh: Any, items: object) -> None:
    claims = {"iat": 1, "exp": int(mesh.now_s) + 60, "issuers": items}
    text = jws.sign(
        claims,
        mesh.authority_key,
        typ="narrowgate-issuers+jwt",
        headers={"kid": "authority-1"},
    )
    with pytest.raises(IssuerListError):
        IssuerList.parse(text, mesh.bundle, mesh.now_s)


def test_a_workload_listed_twice_refuses_the_list(mesh: Any) -> None:
    parsed = jws.parse(mesh.issuers_text(), typ="narrowgate-issuers+jwt", bytes_max=65536)
    items = parsed.claims["issuers"]
    assert isinstance(items, list)
    text = jws.sign(
        parsed.claims | {"issuers": items * 2},
        mesh.authority_key,
        typ="narrowgate-issuers+jwt",
        headers={"kid": "authority-1"},
    )
    with pytest.raises(IssuerListError, match="twice"):
        IssuerList.parse(text, mesh.bundle, mesh.now_s)
