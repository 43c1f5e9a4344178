"""The shop on paper: its workloads, who calls whom, and how much scope each call takes along."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRUST_DOMAIN: Final = "shop.example"
ISSUER: Final = "https://idp.shop.example"
AUDIENCE: Final = "shop"
POLICIES: Final = Path(__file__).parent / "policy"

SERVICES: Final = ("storefront", "orders", "payments", "ledger", "notifications")
FULL_SCOPE: Final = (
    "catalog:read",
    "orders:write",
    "payments:charge",
    "ledger:append",
    "notifications:send",
)
SCOPE_AT: Final = {
    "storefront": set(FULL_SCOPE),
    "orders": set(FULL_SCOPE[1:]),
    "payments": {"payments:charge", "ledger:append"},
    "ledger": {"ledger:append"},
    "notifications": {"notifications:send"},
}
HOPS_TO: Final = {
    "storefront": (),
    "orders": ("storefront",),
    "payments": ("storefront", "orders"),
    "ledger": ("storefront", "orders", "payments"),
    "notifications": ("storefront", "orders"),
}
ROUTE_OF: Final = {
    "storefront": "/checkout",
    "orders": "/orders",
    "payments": "/charges",
    "ledger": "/entries",
    "notifications": "/messages",
}
ROOT_LIFETIME_S: Final = 300
KIOSK_SVID_LIFETIME_S: Final = 10


def spiffe_id(name: str) -> str:
    """The SPIFFE ID of a workload of the shop."""
    return f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/{name}"


@dataclass(frozen=True)
class Place:
    """Where one workload's application and sidecar listen; all on loopback."""

    name: str
    application: int
    inbound: int
    outbound: int
    edge: int
    metrics: int
    health: int

    @property
    def id(self) -> str:
        return spiffe_id(self.name)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different. They may be taken again before use."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Free ports that stay ours: nobody is given one who does not ask for it by its number.

    They are bound and do not listen, so a server that reuses the address, as servers do, gets its
    port whenever it starts, and until then a connection to it is refused.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in held]


PORTS_EACH: Final = 6


def places(names: Sequence[str], ports: Iterable[int]) -> dict[str, Place]:
    """A place with its own `PORTS_EACH` ports for every name."""
    left = iter(ports)
    return {name: Place(name, *(next(left) for _ in range(PORTS_EACH))) for name in names}
