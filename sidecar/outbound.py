"""The outbound gate: from the application to another workload's inbound gate.

    posture -> destination -> strip -> correlate -> policy -> permit -> hop -> that gate

Invariants: see `sidecar.path`. Only hosts of the registry have a destination, each pinned to its
SPIFFE ID; a call that belongs to no live inbound call carries workload identity only.
"""

from __future__ import annotations

from ca.spiffe.ids import SpiffeId
from policy.call import Field, Gate, Grant
from policy.permit import Judge, Permit
from policy.reason import Reason
from sidecar.control.registry import Destination
from sidecar.http.doorway import Carried, carried
from sidecar.http.head import Refused
from sidecar.http.stream import Stream
from sidecar.passage import Passage
from sidecar.path import ATTEMPTS_MAX, Path, Surroundings, may_try_again
from sidecar.token.correlation import Handles
from sidecar.token.narrow import Narrower
from sidecar.token.refusal import TokenRefused
from sidecar.token.siblings import Siblings
from sidecar.token.trace import handle as as_handle
from sidecar.token.trace import state_handle, trace_id, without_handle


class OutboundGate(Path):
    """From the application to another workload's inbound gate."""

    gate = Gate.OUTBOUND

    def __init__(
        self,
        around: Surroundings,
        judge: Judge,
        handles: Handles,
        siblings: Siblings | None,
        narrower: Narrower,
    ) -> None:
        super().__init__(around, judge)
        self._handles = handles
        self._siblings = siblings
        self._narrower = narrower

    async def _pass(self, stream: Stream, passage: Passage) -> None:
        around = self.around
        head = stream.head
        passage.source = around.mesh.workload
        passage.posture = around.posture.check(passage.now_s)
        if head.upgrade:
            raise Refused(Reason.UPGRADE_REFUSED, "upgrade")
        destination = self._destination(head.authority)
        passage.destination = destination.id
        passage.service = head.authority
        found = carried(head.fields, from_mesh=True, keep_authorization=False)
        passage.grant = await self._correlate(found, passage.now_s)
        await self._buffer(stream, passage, self.judge.needs)
        await self._attempts(destination, stream, passage, found)

    def _destination(self, authority: str) -> Destination:
        destination = self.around.mesh.registry.find(authority)
        if destination is None:
            raise Refused(Reason.DESTINATION_UNKNOWN, "no workload serves that host")
        if destination.id == self.around.mesh.workload:
            raise Refused(Reason.DESTINATION_SELF, "a call to oneself")
        return destination

    async def _correlate(self, found: Carried, now_s: float) -> Grant | None:
        """The grant of the inbound call that this one belongs to; None: workload identity only."""
        grant = await self._of_handle(as_handle(found.request_id), now_s)
        if grant is None and found.tracestate:
            grant = await self._of_handle(state_handle(found.tracestate), now_s)
        trace = trace_id(found.traceparent) if grant is None else None
        if trace is not None:
            if self._siblings is not None:
                grant = await self._siblings.by_trace(trace, now_s)
            else:
                grant = self._handles.by_trace(trace, now_s)
        if grant is not None and now_s >= grant.expires_at_s:
            raise TokenRefused(Reason.TOKEN_EXPIRED, "the grant of the inbound call")
        return grant

    async def _of_handle(self, handle: str | None, now_s: float) -> Grant | None:
        if handle is None:
            return None
        grant = self._handles.find(handle, now_s)
        if grant is None and self._siblings is not None:
            grant = await self._siblings.find(handle, now_s)
        return grant

    async def _attempts(
        self, destination: Destination, stream: Stream, passage: Passage, found: Carried
    ) -> None:
        """Try endpoints in turn; each attempt is decided anew, with a hop that is still valid."""
        around = self.around
        fields = _forwarded_trace(found)
        endpoints = list(destination.attempts(ATTEMPTS_MAX))
        if not endpoints:
            raise Refused(Reason.DESTINATION_UNREACHABLE, "the workload has no endpoint")
        for attempt in range(ATTEMPTS_MAX):
            endpoint = endpoints[attempt % len(endpoints)]
            call = self._call(stream, passage, fields, (endpoint.host, endpoint.port))
            decide = self._decide_again if attempt else self._decide
            permit = await decide(passage, call)
            added = self._hop(permit, destination.id, passage.now_s)
            last = attempt == ATTEMPTS_MAX - 1
            try:
                upstream = await around.upstreams.gate(destination.id, endpoint, fresh=attempt > 0)
            except Refused:
                if last:
                    raise
                continue
            try:
                await self._send(permit, stream, passage, upstream, added)
            except Refused as fault:
                if not may_try_again(stream, upstream, permit, attempt, fault):
                    raise
                continue
            around.upstreams.give_back(upstream)
            return

    def _hop(self, permit: Permit, destination: SpiffeId, now_s: float) -> list[Field]:
        if permit.grant is None:
            return []
        root, hops = self._narrower.hand_on(permit, destination, now_s)
        return [(b"txn-token", root.encode("ascii")), (b"txn-hops", hops.encode("ascii"))]

    def _may_learn(self, passage: Passage) -> bool:
        """Only our own application reaches this gate."""
        return True


def _forwarded_trace(found: Carried) -> list[Field]:
    """The application's trace goes on, without the handle, which is nobody else's business."""
    fields = found.plain
    if found.traceparent:
        fields.append((b"traceparent", found.traceparent))
    tracestate = without_handle(found.tracestate) if found.tracestate else b""
    if tracestate:
        fields.append((b"tracestate", tracestate))
    return fields
