"""Every rule is broken by an otherwise valid, really signed chain, and refused for its own reason;
then the rule is taken away and the same attack passes, so none of these tests can go blind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from policy.call import Grant
from policy.reason import Reason
from sidecar.token import rules, verify
from sidecar.token.refusal import TokenRefused
from sidecar.token.trust import Revocations
from sidecar.token.verify import Verifier

Attack = Callable[[Any], tuple[str, str]]


def verified(
    mesh: Any,
    chain: tuple[str, str],
    *,
    peer: str = "orders",
    me: str = "pay",
    later_s: float = 0,
    verifier: Verifier | None = None,
    **trust: object,
) -> Grant:
    checker = verifier or Verifier(mesh.trust(**trust))
    return checker.verify(
        *chain,
        peer=mesh.workload(peer).id,
        me=mesh.workload(me).id,
        now_s=mesh.now_s + later_s,
    )


def refusal(*args: Any, **kwargs: Any) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        verified(*args, **kwargs)
    return caught.value.reason


def two_hops(mesh: Any, first: dict[str, Any], second: dict[str, Any]) -> tuple[str, str]:
    root = mesh.root()
    one = mesh.hop("edge", "orders", [root], **first)
    two = mesh.hop("orders", "pay", [root, one], **second)
    return root, f"{one}~{two}"


def test_valid_chain_gives_the_grant(mesh: Any) -> None:
    root = mesh.root(tctx={"channel": "web"}, jti="root-1")
    one = mesh.hop("edge", "orders", [root], scope=["orders:read", "pay"])
    two = mesh.hop("orders", "pay", [root, one], scope=["pay"], exp=int(mesh.now_s) + 30)
    grant = verified(mesh, (root, f"{one}~{two}"))
    assert (grant.txn, grant.subject, grant.jti) == ("txn-1", "pseudonym-1", "root-1")
    assert grant.scope == {"pay"}
    assert grant.expires_at_s == mesh.now_s + 30
    assert grant.hops == (mesh.workload("edge").id, mesh.workload("orders").id)
    assert grant.issuer == grant.requesting_workload == mesh.workload("edge").id
    assert grant.context == {"channel": "web"}
    assert (grant.root, grant.chain) == (root, f"{one}~{two}")


def test_replacement_root_of_the_authority_is_accepted(mesh: Any) -> None:
    root = mesh.authority_root("orders", scope=["pay"])
    grant = verified(mesh, (root, mesh.hop("orders", "pay", [root], scope=["pay"])))
    assert grant.scope == {"pay"}
    assert grant.requesting_workload == mesh.workload("orders").id


def test_empty_scope_is_handed_on_as_such(mesh: Any) -> None:
    assert verified(mesh, two_hops(mesh, {"scope": ()}, {"scope": ()})).scope == frozenset()


# --- rules 1, 2, 3, 5, 7: (name of the rule function, reason, attack, how it is presented) --------


def wrong_start(mesh: Any) -> tuple[str, str]:
    root = mesh.root()
    return root, mesh.hop("orders", "pay", [root])


def bad_prev(mesh: Any) -> tuple[str, str]:
    root, other = mesh.root(), mesh.root(jti="other")
    one = mesh.hop("edge", "orders", [root])
    return root, f"{one}~{mesh.hop('orders', 'pay', [other, one])}"


def swapped_first_hop(mesh: Any) -> tuple[str, str]:
    """The last hop was signed behind a narrower first hop, which is exchanged for a wider one."""
    root = mesh.root()
    narrow = mesh.hop("edge", "orders", [root], scope=["pay"])
    wide = mesh.hop("edge", "orders", [root])
    return root, f"{wide}~{mesh.hop('orders', 'pay', [root, narrow], scope=['pay'])}"


def bad_txn(mesh: Any) -> tuple[str, str]:
    return two_hops(mesh, {}, {"txn": "txn-2"})


def not_handed(mesh: Any) -> tuple[str, str]:
    return two_hops(mesh, {"aud": mesh.workload("stock").id.uri}, {})


def plain(mesh: Any) -> tuple[str, str]:
    chain: tuple[str, str] = mesh.chain("edge", "orders", "pay")
    return chain


def other_audience(mesh: Any) -> tuple[str, str]:
    return tuple(mesh.chain("edge", "orders", "pay", root=mesh.root(aud="other.example")))


def unlisted(mesh: Any) -> tuple[str, str]:
    return tuple(mesh.chain("orders", "pay"))


def foreign_start(mesh: Any) -> tuple[str, str]:
    root = mesh.root(req_wl=mesh.workload("orders").id.uri)
    return root, mesh.hop("orders", "pay", [root])


def over_ceiling(mesh: Any) -> tuple[str, str]:
    root = mesh.root(scope=["pay", "admin"])
    return root, mesh.hop("edge", "orders", [root], scope=["pay"])


def over_lifetime(mesh: Any) -> tuple[str, str]:
    root = mesh.root(exp=int(mesh.now_s) + 91)  # the ceiling of 60 s and the skew of 30 s
    return tuple(mesh.chain("edge", "orders", "pay", root=root))


def widened_first(mesh: Any) -> tuple[str, str]:
    root = mesh.root(scope=["pay"])
    return tuple(mesh.chain("edge", "orders", "pay", root=root))


def widened_last(mesh: Any) -> tuple[str, str]:
    return two_hops(mesh, {"scope": ["pay"]}, {"scope": ["pay", "orders:read"]})


def outlives_root(mesh: Any) -> tuple[str, str]:
    return two_hops(mesh, {"exp": int(mesh.now_s) + 61}, {})


def outlives_hop(mesh: Any) -> tuple[str, str]:
    return two_hops(mesh, {"exp": int(mesh.now_s) + 20}, {"exp": int(mesh.now_s) + 21})


def outlives_wit(mesh: Any) -> tuple[str, str]:
    mesh.workload("orders", life_s=30)
    return two_hops(mesh, {}, {"exp": int(mesh.now_s) + 31})


def root_outlives_wit(mesh: Any) -> tuple[str, str]:
    mesh.workload("edge", life_s=30)
    early = int(mesh.now_s) + 20
    return two_hops(mesh, {"exp": early}, {"exp": early})


def too_deep(mesh: Any) -> tuple[str, str]:
    return tuple(mesh.chain("edge", "a", "edge", "a", "edge", "a", "orders", "pay"))


def edge_replaces(mesh: Any) -> tuple[str, str]:
    root = mesh.root(replaces="A" * 43)
    return tuple(mesh.chain("edge", "orders", "pay", root=root))


def replaces_nothing(mesh: Any) -> tuple[str, str]:
    root = mesh.authority_root("orders", replaces=None)
    return root, mesh.hop("orders", "pay", [root])


R = Reason
BROKEN: list[tuple[str, Reason, Attack, dict[str, Any]]] = [
    ("check_start", R.CHAIN_BROKEN, wrong_start, {}),
    ("check_links", R.CHAIN_BROKEN, bad_prev, {}),
    ("check_links", R.CHAIN_BROKEN, swapped_first_hop, {}),
    ("check_transaction", R.CHAIN_BROKEN, bad_txn, {}),
    ("check_handover", R.CHAIN_BROKEN, not_handed, {}),
    ("check_sender", R.CHAIN_SENDER, plain, {"peer": "thief"}),
    ("check_recipient", R.CHAIN_RECIPIENT, plain, {"me": "stock"}),
    ("check_audience", R.TOKEN_AUDIENCE, other_audience, {}),
    ("check_ceiling", R.TOKEN_CEILING, over_ceiling, {"peer": "edge", "me": "orders"}),
    ("check_lifetime", R.TOKEN_CEILING, over_lifetime, {}),
    ("check_narrowing", R.CHAIN_WIDENED, widened_first, {}),
    ("check_narrowing", R.CHAIN_WIDENED, widened_last, {}),
    ("check_shortening", R.CHAIN_WIDENED, outlives_root, {}),
    ("check_shortening", R.CHAIN_WIDENED, outlives_hop, {}),
    ("check_shortening", R.CHAIN_WIDENED, outlives_wit, {}),
    ("check_shortening", R.CHAIN_WIDENED, root_outlives_wit, {}),
    ("check_expiry", R.TOKEN_EXPIRED, plain, {"later_s": 60}),
    ("check_bounds", R.CHAIN_TOO_DEEP, too_deep, {}),
    ("check_replacement", R.TOKEN_ISSUER, edge_replaces, {}),
    ("check_replacement", R.TOKEN_ISSUER, replaces_nothing, {}),
    ("check_issuer", R.TOKEN_ISSUER, foreign_start, {}),
]


@pytest.mark.parametrize(("rule", "reason", "attack", "how"), BROKEN)
def test_broken_rule_is_refused_and_without_the_rule_it_passes(
    mesh: Any,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    reason: Reason,
    attack: Attack,
    how: dict[str, Any],
) -> None:
    chain = attack(mesh)
    assert refusal(mesh, chain, **how) is reason
    monkeypatch.setattr(rules, rule, lambda *_: None)
    assert isinstance(verified(mesh, chain, **how), Grant)


def test_presence_is_judged_by_its_own_rule(mesh: Any) -> None:
    root, hops = plain(mesh)
    assert refusal(mesh, ("", "")) is Reason.TOKEN_MISSING
    assert refusal(mesh, (root, "")) is Reason.CHAIN_MISSING
    assert refusal(mesh, ("", hops)) is Reason.CHAIN_ROOTLESS


def test_unlisted_issuer_is_refused_twice(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without the issuer gives no ceiling to hold the root against, rule or no rule."""
    assert refusal(mesh, unlisted(mesh)) is Reason.TOKEN_ISSUER
    assert refusal(mesh, plain(mesh), issuers=None) is Reason.TOKEN_ISSUER
    monkeypatch.setattr(rules, "check_issuer", lambda *_: None)
    assert refusal(mesh, unlisted(mesh)) is Reason.TOKEN_ISSUER


def test_expired_issuer_list_lists_nobody(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    short = mesh.issuers(exp_s=mesh.now_s + 10)
    assert refusal(mesh, plain(mesh), issuers=short, later_s=10) is Reason.TOKEN_ISSUER
    monkeypatch.setattr(rules, "check_listed", lambda *_: None)
    assert verified(mesh, plain(mesh), issuers=short, later_s=10)


@pytest.mark.parametrize("which", ["root", "hops"])
def test_sizes_are_bounded_before_anything_is_read(
    mesh: Any, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    root, hops = plain(mesh)
    long = (root + "A" * 2048, hops) if which == "root" else (root, hops + "A" * 8192)
    assert refusal(mesh, long) is Reason.CHAIN_TOO_LARGE
    monkeypatch.setattr(rules, "check_bounds", lambda *_: None)
    assert refusal(mesh, long) is not Reason.CHAIN_TOO_LARGE


def test_size_rule_alone_refuses_a_valid_chain_of_that_size(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = [f"scope-atom-number-{number:02d}-of-many" for number in range(30)]
    mesh_issuers = mesh.issuers(scope=wide)
    texts = [mesh.root(scope=wide[:2])]
    for by, to in zip(("edge", "a", "b", "c", "d", "orders"), "abcd", strict=False):
        texts.append(mesh.hop(by, to, texts, scope=wide[:2], note="n" * 900))
    texts.append(mesh.hop("d", "orders", texts, scope=wide[:2]))
    chain = texts[0], "~".join(texts[1:])
    how: dict[str, Any] = {"peer": "d", "me": "orders", "issuers": mesh_issuers}
    assert len(chain[1]) > 8192
    assert refusal(mesh, chain, **how) is Reason.CHAIN_TOO_LARGE
    monkeypatch.setattr(rules, "check_bounds", lambda *_: None)
    assert verified(mesh, chain, **how)


# --- signatures -----------------------------------------------------------------------------------


def test_signatures_are_checked(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, hop and WIT by keys nobody certified; without the check they pass."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged_root = mesh.chain("edge", "orders", "pay", root=mesh.root(key=stranger))
    forged_hop = two_hops(mesh, {}, {"key": stranger})
    for chain in (forged_root, forged_hop):
        assert refusal(mesh, chain) is Reason.TOKEN_SIGNATURE
    monkeypatch.setattr(verify, "_check_signature", lambda *_: None)
    for chain in (forged_root, forged_hop):
        assert verified(mesh, chain)


def test_wit_must_be_the_authoritys_and_the_signers(mesh: Any) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    own = mesh.wit_text(mesh.workload("orders").id, stranger, by=stranger)
    self_made = two_hops(mesh, {}, {"key": stranger, "header": {"wit": own}})
    thief = mesh.workload("thief")
    borrowed = two_hops(mesh, {}, {"key": thief.key, "header": {"wit": thief.text}})
    assert refusal(mesh, self_made) is Reason.TOKEN_SIGNATURE
    assert refusal(mesh, borrowed) is Reason.TOKEN_SIGNATURE


def test_authority_root_needs_a_key_of_the_bundle(mesh: Any) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    for how in ({"key": stranger}, {"header": {"kid": "unknown"}}):
        values = {"key": mesh.authority_key, "header": {"kid": "authority-1"}} | how
        root = mesh.root(
            iss="spiffe://shop.example",
            req_wl=mesh.workload("orders").id.uri,
            replaces="A" * 43,
            **values,
        )
        chain = root, mesh.hop("orders", "pay", [root])
        assert refusal(mesh, chain) is Reason.TOKEN_SIGNATURE


def test_unknown_trust_domain_has_no_signatures(mesh: Any) -> None:
    assert refusal(mesh, plain(mesh), bundles={}) is Reason.TOKEN_SIGNATURE


def test_types_are_not_interchangeable(mesh: Any) -> None:
    root = mesh.root(typ="narrowgate-hop+jwt")
    assert refusal(mesh, mesh.chain("edge", "orders", "pay", root=root)) is Reason.TOKEN_MALFORMED
    assert refusal(mesh, two_hops(mesh, {}, {"typ": "JWT"})) is Reason.TOKEN_MALFORMED


# --- revocation -----------------------------------------------------------------------------------


def revocations(mesh: Any) -> list[dict[str, Any]]:
    return [
        {"transactions": frozenset({"txn-1"})},
        {"tokens": frozenset({"root-jti"})},
        {"tokens": frozenset({"wit-orders"})},
        {"workloads": frozenset({mesh.workload("edge").id})},
        {"workloads": frozenset({mesh.workload("orders").id})},
        {"keys": frozenset({mesh.workload("orders").wit.key_thumbprint})},
    ]


def test_revocation_ends_a_chain(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = mesh.chain("edge", "orders", "pay", root=mesh.root(jti="root-jti"))
    for kind in revocations(mesh):
        assert refusal(mesh, chain, revocations=Revocations(1, **kind)) is Reason.TOKEN_REVOKED
    monkeypatch.setattr(rules, "check_revocation", lambda *_: None)
    for kind in revocations(mesh):
        assert verified(mesh, chain, revocations=Revocations(1, **kind))


# --- rule 4: the cache holds signature results only -----------------------------------------------


@pytest.fixture
def warm(mesh: Any) -> tuple[Verifier, tuple[str, str]]:
    """A verifier that has accepted this chain before."""
    verifier, chain = Verifier(mesh.trust()), plain(mesh)
    verified(mesh, chain, verifier=verifier)
    return verifier, chain


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"peer": "thief"}, Reason.CHAIN_SENDER),
        ({"me": "stock"}, Reason.CHAIN_RECIPIENT),
        ({"later_s": 60}, Reason.TOKEN_EXPIRED),
        ({"later_s": -31}, Reason.TOKEN_CEILING),
    ],
)
def test_cached_chain_is_checked_on_every_use(
    mesh: Any,
    warm: tuple[Verifier, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
    reason: Reason,
) -> None:
    verifier, chain = warm
    assert refusal(mesh, chain, verifier=verifier, **how) is reason
    monkeypatch.setattr(Verifier, "_check_use", lambda *_: None)
    assert verified(mesh, chain, verifier=verifier, **how)


def test_cached_chain_sees_a_new_snapshot(mesh: Any, warm: Any) -> None:
    verifier, chain = warm
    for changes, reason in (
        ({"issuers": None}, Reason.TOKEN_ISSUER),
        ({"issuers": mesh.issuers(scope=["pay"])}, Reason.TOKEN_CEILING),
        ({"issuers": mesh.issuers(lifetime_s_max=5)}, Reason.TOKEN_CEILING),
        ({"bundles": {}, "bundle_sequence": 2}, Reason.TOKEN_SIGNATURE),
        (
            {"revocations": Revocations(1, transactions=frozenset({"txn-1"}))},
            Reason.TOKEN_REVOKED,
        ),
        # Even if an epoch were forgotten, another snapshot is another look.
        (
            {"revocations": Revocations(0, transactions=frozenset({"txn-1"}))},
            Reason.TOKEN_REVOKED,
        ),
    ):
        verifier.trust = mesh.trust(**changes)
        assert refusal(mesh, chain, verifier=verifier) is reason
    verifier.trust = mesh.trust(bundle_sequence=3)
    assert verified(mesh, chain, verifier=verifier)


def test_cached_chain_costs_no_signature(mesh: Any, warm: Any, monkeypatch: Any) -> None:
    verifier, chain = warm

    def fail(*_: object) -> None:
        raise AssertionError("a signature was checked again")

    monkeypatch.setattr(verify, "_check_signature", fail)
    assert verified(mesh, chain, verifier=verifier)
    verifier.trust = mesh.trust()  # another list, the same bundles and revocations
    assert verified(mesh, chain, verifier=verifier)


def test_refused_chain_is_not_remembered(mesh: Any) -> None:
    verifier = Verifier(mesh.trust(issuers=None))
    chain = plain(mesh)
    assert refusal(mesh, chain, verifier=verifier) is Reason.TOKEN_ISSUER
    verifier.trust = mesh.trust()
    assert verified(mesh, chain, verifier=verifier)


def test_old_and_new_authority_key_both_verify_in_rotation(mesh: Any) -> None:
    """A live chain outlives the arrival of a new key, and ends when its own key is gone."""
    new = ec.generate_private_key(ec.SECP256R1()).public_key()
    keys = dict(mesh.bundle.jwt_authorities)
    both = type(mesh.bundle)(mesh.domain, (), {**keys, "authority-2": new}, 2)
    only = type(mesh.bundle)(mesh.domain, (), {"authority-2": new}, 3)
    chain = plain(mesh)
    assert verified(mesh, chain, bundles={mesh.domain: both}, bundle_sequence=2)
    gone = {"bundles": {mesh.domain: only}, "bundle_sequence": 3}
    assert refusal(mesh, chain, **gone) is Reason.TOKEN_SIGNATURE
