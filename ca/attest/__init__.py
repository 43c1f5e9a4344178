"""Attestors: each turns one kind of evidence into the workloads that the caller may be.

Invariants: an attestor runs inside the transaction that records what is issued, so evidence that
can be used once is used up exactly when something was issued for it; it returns at least one
registered workload or raises `Refused`; it never returns a workload that the evidence does not
prove.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ca.spiffe.ids import SpiffeId


class PeerProcess(NamedTuple):
    """The process at the other end of a unix socket, as the kernel reports it."""

    pid: int
    uid: int
    gid: int


class Attestor(Protocol):
    """One way to prove who is asking; `name` is what requests call it."""

    @property
    def name(self) -> str:
        """The `attestor` member of requests."""

    def attest(
        self,
        rows: sqlite3.Connection,
        evidence: Mapping[str, object],
        peer: PeerProcess | None,
        now_s: float,
    ) -> tuple[SpiffeId, ...]:
        """Return the workloads that the caller may be; raise `Refused`.

        `rows` is an open transaction; `peer` is None unless the caller came over the unix socket.
        """
