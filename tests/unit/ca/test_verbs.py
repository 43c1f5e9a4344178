"""The verbs against a real state directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ca import cli
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import TrustDomain

_ORDERS = "spiffe://shop.example/ns/shop/sa/orders"
_STOCK = "spiffe://shop.example/ns/shop/sa/stock"


@pytest.fixture
def run(state: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a verb; return (exit code, stdout, stderr)."""

    def call(verb: str, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(["ca", *verb.split(), "--state", str(state), *arguments])
        printed = capsys.readouterr()
        return code, printed.out.strip(), printed.err.strip()

    return call


def test_init_twice_and_wrong_names(run: Any, tmp_path: Path, capsys: Any) -> None:
    code, _, err = run("init", "--trust-domain", "shop.example")
    assert code == 1 and "already initialised" in err
    other = str(tmp_path / "other")
    assert cli.main(["ca", "init", "--state", other, "--trust-domain", "Shop.example"]) == 1
    assert "trust domain" in capsys.readouterr().err
    assert not Path(other).exists()


def test_bundle_is_a_bundle(run: Any) -> None:
    code, out, _ = run("bundle")
    bundle = TrustBundle.parse(TrustDomain.parse("shop.example"), json.loads(out))
    assert code == 0 and bundle.sequence == 1
    assert len(bundle.x509_authorities) == len(bundle.jwt_authorities) == 1


def test_entries(run: Any) -> None:
    code, out, _ = run(
        "entry create",
        "--id",
        _STOCK,
        "--selector",
        "unix:uid:7",
        "--selector",
        "unix:gid:8",
        "--host",
        "stock",
        "--host",
        "stock.svc",
        "--endpoint",
        "127.0.0.1:1",
        "--svid-lifetime-s",
        "60",
    )
    assert (code, out) == (0, _STOCK)
    assert json.loads(run("entry list")[1])[1] == {
        "id": _STOCK,
        "selectors": ["unix:uid:7", "unix:gid:8"],
        "hosts": ["stock", "stock.svc"],
        "endpoints": ["127.0.0.1:1"],
        "svid_lifetime_s": 60,
    }
    assert run("entry create", "--id", _STOCK)[0] == 1
    assert run("entry delete", "--id", _STOCK)[0] == 0
    assert run("entry delete", "--id", _STOCK)[0] == 1
    code, _, err = run("entry create", "--id", "spiffe://bank.example/a")
    assert code == 1 and "shop.example" in err


def test_token_create_prints_the_token_only(run: Any) -> None:
    code, out, err = run("token create", "--id", _ORDERS, "--ttl-s", "5")
    assert code == 0 and out.startswith("ngj_") and "\n" not in out and err == ""
    code, out, err = run("token create", "--id", _STOCK)
    assert code == 1 and out == "" and f"entry create --id {_STOCK}" in err
    assert run("token create", "--id", _ORDERS, "--ttl-s", "0")[0] == 1


def test_policies(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    code, _, err = run("policy set", str(folder))
    assert code == 1 and "no .rego" in err
    (folder / "a.rego").write_text("package a\n")
    code, revision, _ = run("policy set", str(folder))
    assert code == 0
    assert run("policy set", "--id", _ORDERS, str(folder))[1] == revision
    assert json.loads(run("status")[1])["policies"] == {
        "(mesh default)": revision,
        _ORDERS: revision,
    }
    assert run("policy delete")[0] == 0
    assert run("policy delete")[0] == 1
    assert run("policy set", "--id", _STOCK, str(folder))[0] == 1


def test_issuers(run: Any) -> None:
    issuer = ("--id", _ORDERS, "--external-issuer", "https://idp")
    arguments = (*issuer, "--scope", "b", "--scope", "a")
    assert run("issuer set", *arguments)[0] == 0
    assert json.loads(run("issuer list")[1]) == [
        {
            "workload": _ORDERS,
            "external_issuers": ["https://idp"],
            "scope": ["a", "b"],
            "lifetime_s_max": 60,
        }
    ]
    assert run("issuer set", *arguments, "--lifetime-s-max", "0")[0] == 1
    assert run("issuer delete", "--id", _ORDERS)[0] == 0
    assert run("issuer delete", "--id", _ORDERS)[0] == 1


def test_revoke_and_restore(run: Any) -> None:
    for option, value in (
        ("--serial", "0xAB"),
        ("--workload", _ORDERS),
        ("--key", "k" * 43),
        ("--transaction", "t"),
        ("--token", "j"),
    ):
        assert run("revoke", option, value)[0] == 0
    section = json.loads(run("status")[1])["revocations"]
    assert section == {
        "epoch": 5,
        "serials": ["ab"],
        "workloads": [_ORDERS],
        "keys": ["k" * 43],
        "transactions": ["t"],
        "tokens": ["j"],
    }
    assert run("restore", "--token", "j")[0] == 0
    assert run("restore", "--token", "j")[0] == 1
    assert run("revoke", "--workload", "spiffe://bank.example/a")[0] == 1
    assert run("revoke", "--serial", "xyz")[0] == 1


def test_status(run: Any) -> None:
    run("token create", "--id", _ORDERS)
    status = json.loads(run("status")[1])
    assert status["trust_domain"] == "shop.example" and status["entries"] == 1
    assert status["unused_join_tokens"] == 1 and status["warnings"] == []


def test_an_open_state_directory_is_refused_by_every_verb(run: Any, state: Path) -> None:
    state.chmod(0o755)
    for verb in ("bundle", "status", "entry list", "issuer list"):
        code, out, err = run(verb)
        assert (code, out) == (1, "") and "chmod 700" in err
    code, _, err = run("serve")
    assert code == 1 and "chmod 700" in err
