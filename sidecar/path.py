"""THE request path: what both gates have in common, written over a stream.

    sidecar/inbound.py:  identity -> posture -> strip -> token chain -> policy -> permit -> app
    sidecar/outbound.py: posture -> destination -> strip -> correlate -> policy -> permit -> hop

Invariants: every request that reaches `_send` does so inside a `Permit`, and what is sent is made
from that permit; an attempt that is made again is decided again; whatever goes wrong is exactly one
`Reason`, and an unknown error is INTERNAL, forwards nothing and is counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from policy.call import Call, Field, Gate
from policy.input import Needs
from policy.permit import Denial, Judge, Permit
from policy.reason import Reason
from sidecar.control.mesh import Mesh
from sidecar.http.client import ClientConnection
from sidecar.http.head import BY_LENGTH, UNFRAMED, Framing, Refused, ResponseHead
from sidecar.http.http1 import encode_request
from sidecar.http.refusal import answer
from sidecar.http.relay import Relay
from sidecar.http.stream import Reset, Stream
from sidecar.identity.admission import Admission
from sidecar.net.clock import TICK_S, Clock
from sidecar.net.deadlines import Deadlines
from sidecar.net.entropy import Entropy
from sidecar.passage import Passage
from sidecar.resilience.posture import PostureTable
from sidecar.telemetry.journal import Journal
from sidecar.token.refusal import TokenRefused
from sidecar.upstreams import Upstreams

ATTEMPTS_MAX: Final = 2
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again (RFC 9110 section 9.2.2)."""

log = logging.getLogger("narrowgate.path")


class Denied(Exception):
    """A decision was a denial."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.reason.label)
        self.denial: Final = denial


class Surroundings:
    """What both gates share in one worker."""

    def __init__(
        self,
        mesh: Mesh,
        clock: Clock,
        deadlines: Deadlines,
        entropy: Entropy,
        posture: PostureTable,
        admission: Admission,
        upstreams: Upstreams,
        journal: Journal,
        *,
        first_byte_s: float,
        idle_s: float,
        request_s: float,
        buffered_body_bytes_max: int,
    ) -> None:
        self.mesh = mesh
        self.clock = clock
        self.deadlines = deadlines
        self.entropy = entropy
        self.posture = posture
        self.admission = admission
        self.upstreams = upstreams
        self.journal = journal
        self.first_byte_s = first_byte_s
        self.idle_s = idle_s
        self.request_s = request_s
        self.buffered_body_bytes_max = buffered_body_bytes_max


class Path:
    """What the two gates have in common: serve, decide, send, refuse."""

    gate: Gate

    def __init__(self, around: Surroundings, judge: Judge) -> None:
        self.around = around
        self.judge = judge

    async def serve(self, stream: Stream) -> None:
        """Take one stream to its end. Raises nothing but cancellation."""
        around = self.around
        passage = Passage(self.gate, around.entropy.identifier(), stream, around.clock.time_s())
        passage.started_s = time.perf_counter()
        stream.deadline_s = around.deadlines.now_s + around.request_s
        try:
            await self._pass(stream, passage)
        except Denied as denied:
            self._refuse(passage, denied.denial)
        except (Refused, TokenRefused) as refused:
            self._refuse(passage, Denial.of(refused.reason, passage.id, refused.detail))
        except Reset as reset:
            passage.detail = str(reset)
            stream.reset()
        except asyncio.CancelledError:
            stream.reset()
            raise
        except Exception as error:
            log.exception("decision %s: the gate failed", passage.id)
            self._refuse(passage, Denial.of(Reason.INTERNAL, passage.id, type(error).__name__))
        around.journal.ended(passage)

    async def _pass(self, stream: Stream, passage: Passage) -> None:
        raise NotImplementedError

    async def _buffer(self, stream: Stream, passage: Passage, needs: Needs) -> None:
        """Read the body that policy wants to see; a longer one is refused unread."""
        if not needs.body or stream.head.framing is UNFRAMED:
            passage.body = b"" if needs.body else None
            return
        bound = self.around.buffered_body_bytes_max
        if stream.head.length > bound:
            raise Refused(Reason.BODY_TOO_LARGE, "over the bound of a body that policy reads")
        body = bytearray()
        while chunk := await stream.read():
            body += chunk
            if len(body) > bound:
                raise Refused(Reason.BODY_TOO_LARGE, "over the bound of a body that policy reads")
        passage.body = bytes(body)

    def _call(
        self, stream: Stream, passage: Passage, fields: list[Field], where: tuple[str, int]
    ) -> Call:
        head = stream.head
        call = passage.call = Call(
            gate=self.gate,
            id=passage.id,
            time_s=passage.now_s,
            method=head.method,
            target=head.target.decode("ascii"),
            path=head.path,
            query=head.query,
            host=head.authority,
            protocol="HTTP/1.1" if head.minor else "HTTP/1.0",
            fields=fields,
            size=_size(head.framing, head.length),
            body=passage.body,
            truncated=False,
            source=passage.source,
            source_address=stream.connection.address,
            destination=passage.destination,
            destination_address=where,
            workload=self.around.mesh.workload,
        )
        return call

    async def _decide(self, passage: Passage, call: Call) -> Permit:
        """Ask for a decision. Raises `Denied`."""
        around = self.around
        passage.now_s = around.clock.time_s()
        passage.posture = around.posture.check(passage.now_s)
        begun_s = time.perf_counter()
        outcome = await self.judge.decide(call, passage.grant, passage.posture)
        passage.decided_s = time.perf_counter() - begun_s
        passage.outcome = outcome
        around.journal.decided(passage)
        if isinstance(outcome, Permit):
            return outcome
        raise Denied(outcome)

    async def _decide_again(self, passage: Passage, call: Call) -> Permit:
        """Decide another attempt as if it were the first: a fresh id, peer, grant and posture."""
        around = self.around
        passage.id = around.entropy.identifier()
        now_s = around.clock.time_s()
        peer = passage.stream.connection.peer
        if peer is not None:
            around.admission.check(peer, now_s)
        if passage.grant is not None and now_s >= passage.grant.expires_at_s:
            raise TokenRefused(Reason.TOKEN_EXPIRED, "before another attempt")
        again = passage.call = call._replace(id=passage.id, time_s=now_s)
        return await self._decide(passage, again)

    async def _send(
        self,
        permit: Permit,
        stream: Stream,
        passage: Passage,
        upstream: ClientConnection,
        added: list[Field],
    ) -> None:
        """Forward what was judged: the head is made from the permit and the gate's own fields."""
        around = self.around
        call = permit.call
        try:
            head = encode_request(
                call.method,
                permit.target.encode("ascii"),
                call.host.encode("ascii"),
                [*permit.fields, *added],
                stream.head.framing,
                stream.head.length,
            )
        except ValueError:
            upstream.close()
            raise
        wait_s = around.first_byte_s
        if permit.deadline_s is not None:
            wait_s = min(wait_s, permit.deadline_s)
            # A little later than the wait for an answer, so that the caller is told which it was.
            end_s = around.deadlines.now_s + permit.deadline_s + 2 * TICK_S
            stream.deadline_s = min(stream.deadline_s, end_s)
        passage.upstream = upstream.address
        relay = Relay(
            stream, upstream, around.deadlines.loop_s, first_byte_s=wait_s, idle_s=around.idle_s
        )
        await relay.run(head, passage.body or b"", _editor(permit.response_fields))
        passage.status = relay.status

    def _refuse(self, passage: Passage, denial: Denial) -> None:
        passage.reason = denial.reason.label
        passage.detail = passage.detail or denial.detail
        stream = passage.stream
        if passage.outcome is None:
            passage.outcome = denial
            self.around.journal.decided(passage)
        if stream.started:
            stream.reset()
            return
        authenticated = self._may_learn(passage)
        head, body = answer(denial, authenticated=authenticated)
        passage.status = head.status
        stream.start(head)
        stream.write(body)
        stream.finish([])

    def _may_learn(self, passage: Passage) -> bool:
        raise NotImplementedError


def may_try_again(
    stream: Stream, upstream: ClientConnection, permit: Permit, attempt: int, fault: Refused
) -> bool:
    """Whether a failed exchange may be tried once more.

    It broke off (a timeout is an answer of sorts), nothing was answered and nothing is lost.
    """
    return (
        attempt < ATTEMPTS_MAX - 1
        and fault.reason is Reason.DESTINATION_RESET
        and upstream.reused
        and not upstream.answered
        and not stream.started
        and stream.complete
        and stream.received_bytes == 0
        and permit.call.method in IDEMPOTENT
    )


def _size(framing: Framing, length: int) -> int:
    if framing is BY_LENGTH:
        return length
    return 0 if framing is UNFRAMED else -1


def _editor(added: tuple[Field, ...]) -> Callable[[ResponseHead], None]:
    def edit(head: ResponseHead) -> None:
        if added:
            head.fields = [*head.fields, *added]

    return edit
