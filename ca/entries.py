"""Registration entries: which workloads exist, how each proves itself, and where it is reached.

Invariants: an entry's ID belongs to the authority's own trust domain and has a path outside
`/narrowgate/` (the authority's own names); a host names at most one workload; deleting an entry
ends renewal and the control connection of its workload at once, but not its live SVID.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ca.spiffe.ids import SpiffeId, SpiffeIdError, TrustDomain

LIFETIME_S_MIN: Final = 5
LIFETIME_S_MAX: Final = 24 * 3600
ENTRIES_MAX: Final = 10_000
_ITEMS_MAX: Final = 64
_PORT_MAX: Final = 65535
_SELECTOR: Final = re.compile(r"unix:(?:uid|gid):(?:0|[1-9][0-9]{0,9})")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_-]+)*")


class EntryError(ValueError):
    """The entry, or a reference to one, is not acceptable; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`svid_lifetime_s` None means the server's default; endpoints are `address:port`."""

    id: SpiffeId
    selectors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    svid_lifetime_s: int | None = None


def workload_id(text: str, trust_domain: TrustDomain) -> SpiffeId:
    """Parse the ID of a workload of our own trust domain; raise `EntryError`."""
    try:
        name = SpiffeId.parse(text)
    except SpiffeIdError as error:
        raise EntryError(f"{text!r}: {error}") from error
    if name.trust_domain != trust_domain:
        raise EntryError(f"{text}: this authority speaks only for {trust_domain}")
    if not name.path:
        raise EntryError(f"{text}: a workload's ID has a path, e.g. /ns/shop/sa/orders")
    if name.path == "/narrowgate" or name.path.startswith("/narrowgate/"):
        raise EntryError(f"{text}: names under /narrowgate are the authority's own")
    return name


def check(entry: Entry) -> Entry:
    """Check selectors, hosts, endpoints and lifetime; raise `EntryError`."""
    for items in (entry.selectors, entry.hosts, entry.endpoints):
        if len(items) > _ITEMS_MAX or len(set(items)) != len(items):
            raise EntryError(f"at most {_ITEMS_MAX} different selectors, hosts or endpoints each")
    for selector in entry.selectors:
        if _SELECTOR.fullmatch(selector) is None:
            raise EntryError(f"selector {selector!r}: use unix:uid:NUMBER or unix:gid:NUMBER")
    for host in entry.hosts:
        if _HOST.fullmatch(host) is None:
            raise EntryError(f"host {host!r}: use a lower-case host name without a port")
    for endpoint in entry.endpoints:
        _check_endpoint(endpoint)
    lifetime_s = entry.svid_lifetime_s
    if lifetime_s is not None and not LIFETIME_S_MIN <= lifetime_s <= LIFETIME_S_MAX:
        raise EntryError(f"an SVID lives {LIFETIME_S_MIN} to {LIFETIME_S_MAX} seconds")
    return entry


def create(rows: sqlite3.Connection, entry: Entry, now_s: float) -> None:
    """Add a checked entry; raise `EntryError` when the ID or a host is taken."""
    check(entry)
    if find(rows, entry.id) is not None:
        raise EntryError(f"{entry.id} is already registered: delete it first to change it")
    if rows.execute("SELECT count(*) FROM entries").fetchone()[0] >= ENTRIES_MAX:
        raise EntryError(f"at most {ENTRIES_MAX} entries")
    taken = {host: other.id for other in every(rows) for host in other.hosts}
    for host in entry.hosts:
        if host in taken:
            raise EntryError(f"host {host} already belongs to {taken[host]}")
    rows.execute(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
        (
            entry.id.uri,
            json.dumps(entry.selectors),
            json.dumps(entry.hosts),
            json.dumps(entry.endpoints),
            entry.svid_lifetime_s,
            now_s,
        ),
    )


def delete(rows: sqlite3.Connection, name: SpiffeId) -> None:
    """Remove an entry with its unused join tokens; raise `EntryError` when there is none."""
    if rows.execute("DELETE FROM entries WHERE id = ?", (name.uri,)).rowcount == 0:
        raise EntryError(f"{name} is not registered: see `narrowgate ca entry list`")
    rows.execute("DELETE FROM join_tokens WHERE workload = ?", (name.uri,))
    rows.execute("DELETE FROM issuers WHERE workload = ?", (name.uri,))
    rows.execute("DELETE FROM policies WHERE scope = ?", (name.uri,))


def find(rows: sqlite3.Connection, name: SpiffeId) -> Entry | None:
    """Return the entry of a workload, or None."""
    row = rows.execute(f"{_SELECT} WHERE id = ?", (name.uri,)).fetchone()
    return None if row is None else _entry(row)


def require(rows: sqlite3.Connection, name: SpiffeId) -> Entry:
    """Return the entry of a workload; raise `EntryError` naming the next step."""
    entry = find(rows, name)
    if entry is None:
        raise EntryError(
            f"{name} is not registered: run `narrowgate ca entry create --id {name}` first"
        )
    return entry


def every(rows: sqlite3.Connection) -> list[Entry]:
    """Return all entries in order of their ID."""
    return [_entry(row) for row in rows.execute(f"{_SELECT} ORDER BY id")]


_SELECT: Final = "SELECT id, selectors, hosts, endpoints, svid_lifetime_s FROM entries"


def _entry(row: Sequence[str | int | None]) -> Entry:
    name, selectors, hosts, endpoints, lifetime_s = row
    return Entry(
        SpiffeId.parse(str(name)),
        tuple(json.loads(str(selectors))),
        tuple(json.loads(str(hosts))),
        tuple(json.loads(str(endpoints))),
        None if lifetime_s is None else int(lifetime_s),
    )


def _check_endpoint(endpoint: str) -> None:
    address, _, port = endpoint.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        family = ipaddress.ip_address(bare).version
    except ValueError as error:
        raise EntryError(f"endpoint {endpoint!r}: use an IP address and a port") from error
    bracketed = bare != address
    if bracketed is not (family == 6):  # noqa: PLR2004
        raise EntryError(f"endpoint {endpoint!r}: write IPv6 as [address]:port")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= _PORT_MAX:
        raise EntryError(f"endpoint {endpoint!r}: the port is 1 to {_PORT_MAX}")
