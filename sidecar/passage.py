"""One request on its way through a gate: what is known of it so far, for the journal.

A passage decides nothing. Whatever stage a request ends at, the journal finds here what there is to
say about it: the call that was judged, the grant, the outcome, the response.
"""

from __future__ import annotations

from ca.spiffe.ids import SpiffeId
from policy.call import Call, Gate, Grant, Posture
from policy.permit import Denial, Permit
from sidecar.http.stream import Stream


class Passage:
    """The record of one request. `started_s` is monotonic; `status` 0 means no response."""

    __slots__ = (
        "body",
        "call",
        "decided_s",
        "destination",
        "detail",
        "gate",
        "grant",
        "id",
        "now_s",
        "outcome",
        "posture",
        "reason",
        "service",
        "source",
        "started_s",
        "status",
        "stream",
        "upstream",
    )

    def __init__(self, gate: Gate, decision_id: str, stream: Stream, now_s: float) -> None:
        self.gate = gate
        self.id = decision_id
        self.stream = stream
        self.now_s = now_s
        self.started_s = 0.0
        self.decided_s = 0.0
        self.posture = Posture.SEALED
        self.source: SpiffeId | None = None
        self.destination: SpiffeId | None = None
        self.service = ""
        self.grant: Grant | None = None
        self.call: Call | None = None
        self.outcome: Permit | Denial | None = None
        self.reason = ""
        self.detail = ""
        self.status = 0
        self.body: bytes | None = None
        self.upstream = ""
