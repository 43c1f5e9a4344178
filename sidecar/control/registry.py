"""Who serves which host: the destinations an outbound gate may call, each pinned to an identity.

Invariants: a host names exactly one workload; a host that is not listed has no destination; an
endpoint is an IP literal and a port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ca.spiffe.ids import SpiffeId
from sidecar.address import Address

SERVICES_MAX: Final = 10_000
ENDPOINTS_MAX: Final = 1_000
HOSTS_MAX: Final = 256


class RegistryError(ValueError):
    """The registry section cannot be read; nothing of it is used."""


class Destination:
    """One workload and where its inbound gates listen."""

    __slots__ = ("_turn", "endpoints", "id")

    def __init__(self, workload: SpiffeId, endpoints: tuple[Address, ...]) -> None:
        self.id: Final = workload
        self.endpoints: Final = endpoints
        self._turn = 0

    def attempts(self, most: int) -> Iterator[Address]:
        """The endpoints to try for one call, another one first each time."""
        count = len(self.endpoints)
        start, self._turn = self._turn, (self._turn + 1) % max(count, 1)
        for step in range(min(most, count)):
            yield self.endpoints[(start + step) % count]


class Registry:
    """All destinations, found by host. Immutable."""

    __slots__ = ("_by_host",)

    def __init__(self, by_host: Mapping[str, Destination]) -> None:
        self._by_host: Final = MappingProxyType(dict(by_host))

    def find(self, authority: str) -> Destination | None:
        """The destination of a lower-case `host` or `host:port`."""
        found = self._by_host.get(authority)
        if found is None and ":" in authority:
            found = self._by_host.get(authority.rpartition(":")[0])
        return found

    def __len__(self) -> int:
        return len(self._by_host)

    @classmethod
    def parse(cls, section: object) -> Registry:
        """Read the `registry` section: `{"services": [{"id", "hosts", "endpoints"}]}`.

        Raises:
            RegistryError: anything in it is malformed, over its bound or claimed twice.
        """
        match section:
            case {"services": list(services)} if len(services) <= SERVICES_MAX:
                pass
            case _:
                raise RegistryError("the registry is not a bounded list of services")
        by_host: dict[str, Destination] = {}
        for service in services:
            destination, hosts = _service(service)
            for host in hosts:
                if by_host.setdefault(host, destination) is not destination:
                    raise RegistryError(f"two workloads claim the host {host!r}")
        return cls(by_host)


def _service(service: object) -> tuple[Destination, list[str]]:
    match service:
        case {"id": str(workload), "hosts": list(hosts), "endpoints": list(endpoints)}:
            pass
        case _:
            raise RegistryError("a service lacks its id, hosts or endpoints")
    if len(hosts) > HOSTS_MAX or len(endpoints) > ENDPOINTS_MAX:
        raise RegistryError("a service has too many hosts or endpoints")
    try:
        where = tuple(Address.parse(str(endpoint)) for endpoint in endpoints)
        return Destination(SpiffeId.parse(workload), where), [str(host).lower() for host in hosts]
    except ValueError as error:
        raise RegistryError(f"a service is malformed: {error}") from None
