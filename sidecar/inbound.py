"""The inbound gate: from the mesh, or at the edge from outside, to the application.

    identity -> posture -> strip -> token chain -> grant -> policy -> permit -> application

Invariants: see `sidecar.path`. The application never sees a token, and of its caller it learns only
what this gate verified; each inbound call has a handle that dies with its response.
"""

from __future__ import annotations

from typing import Protocol

from ca.spiffe.ids import SpiffeId
from policy.call import Field, Gate, Grant
from policy.permit import Judge, Permit
from policy.reason import Reason
from sidecar.address import Address
from sidecar.http.doorway import Carried, carried
from sidecar.http.head import Refused
from sidecar.http.stream import Stream
from sidecar.passage import Passage
from sidecar.path import ATTEMPTS_MAX, Path, Surroundings, may_try_again
from sidecar.routes import GrantRule, Routes
from sidecar.token.correlation import Handles
from sidecar.token.refusal import TokenRefused
from sidecar.token.trace import trace_id, with_handle
from sidecar.token.verify import Verifier


class EdgeCredentials(Protocol):
    """How the edge turns a caller's credential into a grant."""

    async def grant(self, authorization: bytes, now_s: float) -> Grant:
        """Raises `TokenRefused`."""
        ...


class InboundGate(Path):
    """From the mesh (or, at the edge, from outside) to the application."""

    gate = Gate.INBOUND

    def __init__(
        self,
        around: Surroundings,
        judge: Judge,
        verifier: Verifier,
        handles: Handles,
        routes: Routes,
        application: Address,
        edge: EdgeCredentials | None = None,
    ) -> None:
        """With `edge`, callers have no mesh identity and their credential becomes a grant."""
        super().__init__(around, judge)
        self._verifier = verifier
        self._handles = handles
        self._routes = routes
        self._application = application
        self._edge = edge
        self._where = (application.host, application.port)

    async def _pass(self, stream: Stream, passage: Passage) -> None:
        around = self.around
        head = stream.head
        passage.destination = around.mesh.workload
        self._identify(stream, passage)
        passage.posture = around.posture.check(passage.now_s)
        if head.upgrade:
            raise Refused(Reason.UPGRADE_REFUSED, "upgrade")
        self._check_authority(head.authority)
        mesh = self._edge is None
        found = carried(head.fields, from_mesh=mesh, keep_authorization=mesh)
        passage.grant = await self._grant(stream, passage, found)
        await self._buffer(stream, passage, self.judge.needs)
        call = self._call(stream, passage, found.plain, self._where)
        permit = await self._decide(passage, call)
        for attempt in range(ATTEMPTS_MAX):
            if await self._to_application(permit, stream, passage, found, attempt):
                return
            permit = await self._decide_again(passage, call)

    def _identify(self, stream: Stream, passage: Passage) -> None:
        if self._edge is not None:
            return
        peer = stream.connection.peer
        if peer is None:
            raise Refused(Reason.PEER_UNVERIFIED, "no peer")
        self.around.admission.check(peer, passage.now_s)
        passage.source = peer.id

    def _check_authority(self, authority: str) -> None:
        """The authority is judged per request: one that is another workload's is misdirected."""
        if not authority:
            raise Refused(Reason.MALFORMED, "no authority (an HTTP/1.0 request without Host)")
        named = self.around.mesh.registry.find(authority)
        if named is not None and named.id != self.around.mesh.workload:
            raise Refused(Reason.MISDIRECTED, "the authority is another workload's")

    async def _grant(self, stream: Stream, passage: Passage, found: Carried) -> Grant | None:
        rule = self._routes.match(stream.head.path, stream.head.method)
        if self._edge is not None:
            return await self._edge_grant(self._edge, rule, found.authorization, passage)
        if not found.root and not found.hops:
            if rule is GrantRule.REQUIRED:
                raise TokenRefused(Reason.TOKEN_MISSING)
            return None
        if rule is GrantRule.FORBIDDEN:
            raise TokenRefused(Reason.TOKEN_FORBIDDEN)
        return self._verified(passage, _ascii(found.root), _ascii(found.hops))

    def _verified(self, passage: Passage, root: str, hops: str) -> Grant:
        around = self.around
        peer = passage.source
        if peer is None:
            raise Refused(Reason.PEER_UNVERIFIED, "no peer")
        try:
            grant = self._verifier.verify(
                root, hops, peer=peer, me=around.mesh.workload, now_s=passage.now_s
            )
        except TokenRefused as refused:
            around.journal.verified(refused.reason.label)
            raise
        around.journal.verified("ok")
        return grant

    async def _edge_grant(
        self, edge: EdgeCredentials, rule: GrantRule, authorization: bytes, passage: Passage
    ) -> Grant | None:
        if not authorization:
            if rule is GrantRule.REQUIRED:
                raise TokenRefused(Reason.CREDENTIAL_MISSING)
            return None
        if rule is GrantRule.FORBIDDEN:
            raise TokenRefused(Reason.TOKEN_FORBIDDEN)
        return await edge.grant(authorization, passage.now_s)

    async def _to_application(
        self, permit: Permit, stream: Stream, passage: Passage, found: Carried, attempt: int
    ) -> bool:
        """Forward once, under a handle for what was permitted; whether that is the end of it."""
        around = self.around
        grant = passage.grant
        if grant is not None:
            grant = grant.narrowed(permit.scope)
        trace, trace_name = found.traceparent, trace_id(found.traceparent)
        if trace_name is None:
            trace, trace_name = self._new_trace()
        handle = self._handles.open(grant, trace_id=trace_name, now_s=passage.now_s)
        try:
            added = self._own_fields(stream, trace, found.tracestate, handle)
            upstream = await around.upstreams.application(self._application, fresh=attempt > 0)
            try:
                await self._send(permit, stream, passage, upstream, added)
            except Refused as fault:
                if not may_try_again(stream, upstream, permit, attempt, fault):
                    raise
                return False
            around.upstreams.give_back(upstream)
            return True
        finally:
            self._handles.close(handle, around.clock.time_s())

    def _own_fields(
        self, stream: Stream, trace: bytes, tracestate: bytes, handle: str
    ) -> list[Field]:
        """What the application is told; each of these was removed from the request before."""
        fields = [
            (b"x-request-id", handle.encode("ascii")),
            (b"traceparent", trace),
            (b"tracestate", with_handle(tracestate, handle)),
        ]
        peer = stream.connection.peer
        if peer is not None:
            fields.append(
                (b"x-forwarded-client-cert", self._client_certificate(peer.hash, peer.id))
            )
        else:
            host = stream.connection.address[0].encode("ascii")
            fields += [(b"x-forwarded-for", host), (b"x-forwarded-proto", b"https")]
        return fields

    def _client_certificate(self, certificate_hash: str, peer: SpiffeId) -> bytes:
        """The element that names the caller; SPIFFE IDs need no quoting (no `,;="` in them)."""
        me = self.around.mesh.workload.uri
        return f"By={me};Hash={certificate_hash};URI={peer.uri}".encode("ascii")

    def _new_trace(self) -> tuple[bytes, str]:
        """A fresh `traceparent` and its trace id (W3C Trace Context section 3.2)."""
        octets = self.around.entropy.octets(24).hex()
        return f"00-{octets[:32]}-{octets[32:]}-00".encode("ascii"), octets[:32]

    def _may_learn(self, passage: Passage) -> bool:
        """At the edge nobody authenticated unless their credential was good."""
        return passage.source is not None or passage.grant is not None


def _ascii(value: bytes) -> str:
    try:
        return value.strip(b" ").decode("ascii")
    except UnicodeDecodeError:
        raise TokenRefused(Reason.TOKEN_MALFORMED, "not ASCII") from None
