"""Unix attestation: the kernel says which user and group is at the other end of the socket.

Invariants: only credentials that the kernel attached to the connection count (SO_PEERCRED); an
entry matches when it has at least one selector and every one of its selectors holds. Processes of
one user are one party: give each workload its own uid when they must not stand in for each other.
"""

from __future__ import annotations

import socket
import sqlite3
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Mapping
from typing import Final

from ca.attest import PeerProcess
from ca.entries import every
from ca.refusal import Reason, Refused
from ca.spiffe.ids import SpiffeId

_CREDENTIALS: Final = struct.Struct("iII")


def peer_process(connection: socket.socket | TransportSocket | None) -> PeerProcess | None:
    """Return the peer of a unix-socket connection; None for any other socket."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return PeerProcess(*_CREDENTIALS.unpack(raw))


class UnixAttestor:
    """Evidence `{}`: everything there is to know comes from the kernel."""

    name: Final = "unix"

    def attest(
        self,
        rows: sqlite3.Connection,
        evidence: Mapping[str, object],
        peer: PeerProcess | None,
        now_s: float,
    ) -> tuple[SpiffeId, ...]:
        """Return all workloads whose selectors fit the peer; raise `Refused`."""
        if peer is None:
            raise Refused(
                Reason.ATTESTATION, "unix attestation works over the authority's unix socket only"
            )
        if evidence:
            raise Refused(Reason.MALFORMED, "unix attestation takes no evidence: send {}")
        holds = {f"unix:uid:{peer.uid}", f"unix:gid:{peer.gid}"}
        fitting = tuple(
            entry.id
            for entry in every(rows)
            if entry.selectors and holds.issuperset(entry.selectors)
        )
        if not fitting:
            raise Refused(
                Reason.ATTESTATION,
                f"no entry fits uid {peer.uid}, gid {peer.gid}: add one with "
                f"`narrowgate ca entry create --selector unix:uid:{peer.uid}`",
            )
        return fitting
