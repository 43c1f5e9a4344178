"""The decision log: one record for each decision, permits and denials alike.

Invariants: it says who asked for what on whose behalf, by which policy and in which posture, and
what came of it; it holds no header value, query, body or token text; recording never fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypedDict, Unpack

from policy.call import Call, Gate, Grant
from policy.permit import Denial, Permit
from sidecar.telemetry.line import (
    METHOD_CHARS_MAX,
    TEXT_CHARS_MAX,
    Stamps,
    bounded_path,
    encode,
)
from sidecar.telemetry.sink import Sink

_SCOPES_MAX: Final = 64
_NOTHING: Final[frozenset[str]] = frozenset()
_GATES: Final = {gate: gate.value for gate in Gate}


class Facts(TypedDict, total=False):
    """What a record may say. `detail` is for people and must hold no secret."""

    detail: str
    revision: str
    peer: str
    workload: str
    destination: str
    method: str
    path: str
    host: str
    txn: str
    scope: Iterable[str]
    handed_on: Iterable[str]
    hops: Iterable[str]
    posture: str
    duration_s: float


class DecisionLog:
    """Formats decisions into a sink, which the owner flushes every half second and at drain."""

    def __init__(self, sink: Sink) -> None:
        self.sink: Final = sink
        self._stamps: Final = Stamps()

    def decided(
        self,
        call: Call,
        grant: Grant | None,
        result: Permit | Denial,
        posture: str,
        revision: str,
        duration_s: float,
    ) -> None:
        """One decision about `call`; `revision` of the policy that was asked, "" for none."""
        if not self.sink.enabled:
            return
        if isinstance(result, Denial):
            reason, detail, handed_on = result.reason.label, result.detail, _NOTHING
        else:
            reason, detail, handed_on = "", "", result.scope
        # Built in one go, not by `record`: this runs for each call of each gate.
        record = {
            "time": self._stamps.at(call.time_s),
            "decision": call.id,
            "gate": _GATES[call.gate],
            "outcome": "deny" if reason else "allow",
            "reason": reason,
            "detail": detail[:TEXT_CHARS_MAX],
            "policy": revision,
            "peer": "" if call.source is None else call.source.uri,
            "workload": call.workload.uri,
            "destination": "" if call.destination is None else call.destination.uri,
            "method": call.method[:METHOD_CHARS_MAX],
            "path": bounded_path(call.path),
            "host": call.host[:TEXT_CHARS_MAX],
            "txn": "" if grant is None else grant.txn[:TEXT_CHARS_MAX],
            "scope": () if grant is None else sorted(grant.scope)[:_SCOPES_MAX],
            "handed_on": sorted(handed_on)[:_SCOPES_MAX],
            "hops": () if grant is None else [hop.uri for hop in grant.hops],
            "posture": posture,
            "duration_us": int(duration_s * 1e6),
        }
        self.sink.append(encode(record))

    def record(
        self, time_s: float, decision: str, gate: str, *, reason: str, **facts: Unpack[Facts]
    ) -> None:
        """One decision in plain values, for refusals that come before there is a call.

        `time_s` since 1970; `decision` its id; `reason` a label, "" for allow.
        """
        if not self.sink.enabled:
            return
        record = {
            "time": self._stamps.at(time_s),
            "decision": decision,
            "gate": gate,
            "outcome": "deny" if reason else "allow",
            "reason": reason,
            "detail": facts.get("detail", "")[:TEXT_CHARS_MAX],
            "policy": facts.get("revision", ""),
            "peer": facts.get("peer", ""),
            "workload": facts.get("workload", ""),
            "destination": facts.get("destination", ""),
            "method": facts.get("method", "")[:METHOD_CHARS_MAX],
            "path": bounded_path(facts.get("path", "")),
            "host": facts.get("host", "")[:TEXT_CHARS_MAX],
            "txn": facts.get("txn", "")[:TEXT_CHARS_MAX],
            "scope": sorted(facts.get("scope", ()))[:_SCOPES_MAX],
            "handed_on": sorted(facts.get("handed_on", ()))[:_SCOPES_MAX],
            "hops": list(facts.get("hops", ())),
            "posture": facts.get("posture", ""),
            "duration_us": int(facts.get("duration_s", 0.0) * 1e6),
        }
        self.sink.append(encode(record))

    def flush(self) -> None:
        """Write what is pending, as far as the target takes it."""
        self.sink.flush()
