"""The five services of the shop alone, without any mesh: real processes, plain HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.commerce import opa
from examples.commerce.client import Answer, get, plain, post
from examples.commerce.processes import Processes, ProcessFailed
from examples.commerce.topology import POLICIES, SERVICES, free_ports
from sidecar.cli import main as narrowgate

SOURCES = Path(opa.REPOSITORY) / "examples" / "commerce" / "services"
BASKET = {"sku": "tea", "quantity": 2, "email": "alice@example.com"}


class Shop:
    """The services, calling each other directly."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self.folder = folder

    def start(self, name: str) -> None:
        urls = {f"{one.upper()}_URL": f"http://127.0.0.1:{p}" for one, p in self.ports.items()}
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(opa.REPOSITORY),
            "LISTEN": f"127.0.0.1:{self.ports[name]}",
            "DATABASE": str(self.folder / f"{name}.sqlite"),
            **urls,
        }
        argv = [sys.executable, "-m", f"examples.commerce.services.{name}"]
        self.processes.start(name, argv, environment)

    def ready(self, name: str) -> None:
        port = self.ports[name]
        self.processes.wait_for(name, lambda: plain(port, get("/healthz")).status == 200, 30)

    def post(self, name: str, target: str, body: object, key: str = "") -> Answer:
        fields = {"Idempotency-Key": key} if key else {}
        return plain(self.ports[name], post(target, body, fields))

    def get(self, name: str, target: str) -> Answer:
        return plain(self.ports[name], get(target))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with Processes(folder / "logs") as processes:
        made = Shop(processes, folder)
        for name in SERVICES:
            made.start(name)
        for name in SERVICES:
            made.ready(name)
        yield made


def test_a_purchase_reaches_every_service(shop: Shop) -> None:
    before = shop.get("ledger", "/balance").json()
    answer = shop.post("storefront", "/checkout", BASKET)
    assert answer.status == 201
    order = answer.json()
    assert (order["status"], order["notified"], order["total_cents"]) == ("paid", 1, 1580)
    after = shop.get("ledger", "/balance").json()
    assert after == {"entries": before["entries"] + 1, "cents": before["cents"] + 1580}
    assert shop.get("orders", f"/orders/{order['id']}").json()["status"] == "paid"


def test_the_same_key_is_paid_once(shop: Shop) -> None:
    before = shop.get("ledger", "/balance").json()["entries"]
    first = shop.post("storefront", "/checkout", BASKET, key="once")
    second = shop.post("storefront", "/checkout", BASKET, key="once")
    assert (first.status, second.status) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert shop.get("ledger", "/balance").json()["entries"] == before + 1


def test_products_are_listed(shop: Shop) -> None:
    products = shop.get("storefront", "/products").json()["products"]
    assert [product["sku"] for product in products] == ["cup", "pot", "tea"]


@pytest.mark.parametrize(
    ("name", "target", "body", "status"),
    [
        ("storefront", "/checkout", {"sku": "gold"}, 422),
        ("storefront", "/checkout", {**BASKET, "quantity": 0}, 422),
        ("storefront", "/checkout", {**BASKET, "quantity": True}, 422),
        ("storefront", "/checkout", ["tea"], 422),
        ("orders", "/orders", {"sku": "tea"}, 422),
        ("orders", "/orders", "tea", 422),
        ("orders", "/orders", {**BASKET, "total_cents": []}, 422),
        ("payments", "/charges", {"order": "x", "amount_cents": -1}, 422),
        ("payments", "/refunds", {}, 404),
        ("ledger", "/entries", {"account": "sales", "reference": "r", "amount_cents": "1"}, 422),
        ("ledger", "/entries", {}, 422),
        ("notifications", "/messages", {"to": "alice"}, 422),
        ("notifications", "/nothing", {}, 404),
    ],
)
def test_bad_input_is_refused(
    shop: Shop, name: str, target: str, body: object, status: int
) -> None:
    assert shop.post(name, target, body).status == status


def test_a_failed_payment_is_paid_on_the_next_try(shop: Shop) -> None:
    before = shop.get("ledger", "/balance").json()["entries"]
    shop.processes.stop("ledger")
    try:
        broken = shop.post("storefront", "/checkout", BASKET, key="again")
    finally:
        shop.start("ledger")
        shop.ready("ledger")
    assert broken.status == 502
    assert shop.post("storefront", "/checkout", BASKET, key="again").status == 201
    assert shop.get("ledger", "/balance").json()["entries"] == before + 1


def test_an_order_is_paid_although_nobody_can_be_told(shop: Shop) -> None:
    shop.processes.stop("notifications")
    try:
        answer = shop.post("storefront", "/checkout", BASKET)
    finally:
        shop.start("notifications")
        shop.ready("notifications")
    assert (answer.status, answer.json()["notified"]) == (201, 0)


def test_sigterm_ends_a_service_cleanly(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = {
        "PYTHONPATH": str(opa.REPOSITORY),
        "LISTEN": f"127.0.0.1:{port}",
        "DATABASE": str(tmp_path / "l.sqlite"),
    }
    for name in ("ledger", "storefront"):
        argv = [sys.executable, "-m", f"examples.commerce.services.{name}"]
        with Processes(tmp_path / "logs") as processes:
            processes.start(name, argv, environment)
            processes.wait_for(name, lambda: plain(port, get("/healthz")).status == 200, 30)
            child = subprocess.Popen(  # a second one on the same port says so and exits
                argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            assert child.wait(30) != 0
            group = processes.group(name)
            os.killpg(group, signal.SIGTERM)
            log = processes.log_path(name)
            with pytest.raises(ProcessFailed, match="exited with 0"):
                processes.wait_for(name, lambda: False, 30)
            assert log.read_text().rstrip().endswith("stopped")
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_no_service_knows_of_a_mesh() -> None:
    imports = re.compile(r"^\s*(?:from|import)\s+(?:ca|policy|sidecar)\b", re.MULTILINE)
    for path in SOURCES.glob("*.py"):
        text = path.read_text()
        assert not imports.search(text), path.name
        assert not any(word in text.lower() for word in ("txn-", "narrowgate", "spiffe")), path.name


def test_the_policies_pass_their_own_tests() -> None:
    binary = opa.find()
    if binary is None:
        assert not opa.required(), "no opa binary"
        pytest.skip("opa binary (NARROWGATE_OPA)")
    for name in SERVICES:
        done = subprocess.run(
            [str(binary), "test", "--format", "json", str(POLICIES / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert len(json.loads(done.stdout)) >= 4


@pytest.mark.parametrize("name", SERVICES)
def test_the_policies_pass_in_the_embedded_engine(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert narrowgate(["policy", "check", str(POLICIES / name)]) == 0
    assert narrowgate(["policy", "test", str(POLICIES / name)]) == 0
    assert " 0 failed" in capsys.readouterr().out


def test_the_policy_that_panics_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo needs that: what the drill shows must not get in by the usual way."""
    bad = tmp_path / "notifications"
    shutil.copytree(POLICIES / "notifications", bad)
    shutil.copy(POLICIES / "drill" / "panic.rego", bad)
    assert narrowgate(["policy", "check", str(bad)]) != 0
    said = capsys.readouterr()
    assert "panic.rego:9: `strings.count`" in said.out + said.err


def test_a_policy_test_that_fails_is_noticed(tmp_path: Path) -> None:
    """The check above has teeth: without the rules the tests fail."""
    binary = opa.find()
    if binary is None:
        assert not opa.required(), "no opa binary"
        pytest.skip("opa binary (NARROWGATE_OPA)")
    bare = tmp_path / "ledger"
    shutil.copytree(POLICIES / "ledger", bare)
    (bare / "inbound.rego").write_text("package envoy.authz\n\ndefault allow := false\n")
    done = subprocess.run(
        [str(binary), "test", str(bare)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0
