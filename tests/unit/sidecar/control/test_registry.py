"""The registry: what can be read of it, its bounds, and how a host finds its workload."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.address import Address
from sidecar.control import registry
from sidecar.control.registry import Destination, Registry, RegistryError
from tests.support.identities import service, workload

ONE = service("orders", "127.0.0.1:1", "127.0.0.1:2", hosts=["Orders.shop", "orders:8443"])


def parse(*services: Any) -> Registry:
    return Registry.parse({"services": list(services)})


@pytest.mark.parametrize("host", ["orders", "orders:80", "orders.shop", "orders.shop:1"])
def test_a_host_finds_its_workload_with_or_without_a_port(host: str) -> None:
    found = parse(ONE).find(host)
    assert found is not None
    assert found.id == workload("orders")


@pytest.mark.parametrize("host", ["", ":", ":80", "order", "orders.", "[::1]:80", "shop", "a:b:c"])
def test_another_host_finds_nothing(host: str) -> None:
    assert parse(ONE).find(host) is None


@pytest.mark.parametrize(
    "section",
    [
        None,
        [],
        {},
        {"services": {}},
        {"services": [None]},
        {"services": ["orders"]},
        {"services": [{**ONE, "id": "orders"}]},
        {"services": [{**ONE, "id": 1}]},
        {"services": [{**ONE, "id": ONE["id"] + "/"}]},
        {"services": [{**ONE, "hosts": "orders"}]},
        {"services": [{**ONE, "endpoints": ["orders:80"]}]},
        {"services": [{**ONE, "endpoints": ["127.0.0.1"]}]},
        {"services": [{**ONE, "endpoints": ["127.0.0.1:0"]}]},
        {"services": [{**ONE, "endpoints": [None]}]},
        {"services": [{"id": ONE["id"], "hosts": []}]},
        {"services": [ONE, {**service("payments"), "hosts": ["ORDERS"]}]},
        {"services": [ONE, {**ONE, "endpoints": []}]},
    ],
)
def test_what_is_no_registry_is_refused_whole(section: object) -> None:
    with pytest.raises(RegistryError):
        Registry.parse(section)


@pytest.mark.parametrize("bound", ["SERVICES_MAX", "HOSTS_MAX", "ENDPOINTS_MAX"])
def test_bounds(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {**ONE, "hosts": ["a", "b"], "endpoints": ["127.0.0.1:1", "127.0.0.1:2"]}
    services = [two] if bound != "SERVICES_MAX" else [service("a"), service("b")]
    monkeypatch.setattr(registry, bound, 2)
    assert len(parse(*services)) == 2
    monkeypatch.setattr(registry, bound, 1)
    with pytest.raises(RegistryError):
        parse(*services)


def test_calls_take_turns_and_an_attempt_goes_elsewhere() -> None:
    found = parse(ONE).find("orders")
    assert found is not None
    tries = [[one.port for one in found.attempts(2)] for _ in range(3)]
    assert tries == [[1, 2], [2, 1], [1, 2]]
    assert [one.port for one in found.attempts(9)] == [2, 1]


def test_a_workload_without_endpoints_has_no_attempts() -> None:
    assert list(Destination(workload("a"), ()).attempts(2)) == []
    only = Destination(workload("a"), (Address("127.0.0.1", 1),))
    assert [list(only.attempts(2)) for _ in range(2)] == [[Address("127.0.0.1", 1)]] * 2
