"""What is written and counted for each request: one decision record, one access line, the metrics.

Invariants: every request that reaches a gate leaves exactly one decision and one access record,
whatever stage it ended at; nothing here can change an outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from policy.permit import Denial
from sidecar.passage import Passage
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.metrics import Metrics


class Journal:
    """Writes the record of passages."""

    def __init__(
        self,
        metrics: Metrics,
        access: AccessLog,
        decisions: DecisionLog,
        revision: Callable[[], str],
        workload: str,
    ) -> None:
        """`revision` names the policy in force, "" for none."""
        self.metrics = metrics
        self._access = access
        self._decisions = decisions
        self._revision = revision
        self._workload = workload

    def verified(self, result: str) -> None:
        """A token chain was verified: "ok" or a reason's label."""
        self.metrics.token_verification(result)

    def decided(self, passage: Passage) -> None:
        """A decision was made; or the passage was refused before there could be one."""
        outcome = passage.outcome
        if outcome is None:
            return
        reason = outcome.reason.label if isinstance(outcome, Denial) else ""
        verdict = "deny" if reason else "allow"
        self.metrics.decision(passage.gate.value, verdict, reason, passage.decided_s)
        call = passage.call
        if call is not None:
            self._decisions.decided(
                call,
                passage.grant,
                outcome,
                passage.posture.value,
                self._revision(),
                passage.decided_s,
            )
        elif isinstance(outcome, Denial):
            self._undecided(passage, outcome)

    def _undecided(self, passage: Passage, denial: Denial) -> None:
        head = passage.stream.head
        self._decisions.record(
            passage.now_s,
            passage.id,
            passage.gate.value,
            reason=denial.reason.label,
            detail=denial.detail,
            revision=self._revision(),
            peer="" if passage.source is None else passage.source.uri,
            workload=self._workload,
            destination="" if passage.destination is None else passage.destination.uri,
            method=head.method,
            path=head.path,
            host=head.authority,
            txn="" if passage.grant is None else passage.grant.txn,
            posture=passage.posture.value,
        )

    def ended(self, passage: Passage) -> None:
        """The request is over."""
        stream = passage.stream
        head = stream.head
        duration_s = time.perf_counter() - passage.started_s
        gate = passage.gate.value
        source = "" if passage.source is None else passage.source.uri
        destination = "" if passage.destination is None else passage.destination.uri
        security = "mutual_tls" if passage.source is not None else "tls"
        self.metrics.request(
            gate,
            passage.status,
            passage.reason,
            "http",
            source,
            destination,
            passage.service,
            security,
            duration_s,
            stream.received_bytes,
            stream.sent_bytes,
        )
        self._access.record(
            passage.now_s,
            gate,
            passage.id,
            head.method,
            head.path,
            passage.status,
            passage.reason,
            source,
            destination,
            "" if passage.grant is None else passage.grant.txn,
            duration_s,
            stream.received_bytes,
            stream.sent_bytes,
            "HTTP/1.1" if head.minor else "HTTP/1.0",
            passage.upstream,
        )
