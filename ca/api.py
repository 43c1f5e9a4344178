"""The authority's HTTP API: attest, renew, control, bundle, health.

Invariants: a body is read whole within a time and a size before anything looks at it; renew and
control are for callers whose SVID verifies now, on every request and not once per connection; what
goes wrong becomes one problem+json (RFC 9457) with a reason of `ca.refusal`, and what was not
foreseen becomes 500 without detail.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.admission import Admission
from ca.attest.unix import peer_process
from ca.authority import Authority, AuthorityError, Issued
from ca.control import STREAMS_MAX, Feed, Stream
from ca.issuing import Issuing
from ca.refusal import Reason, Refused
from ca.revocations import serial_text
from ca.signing_request import SigningRequest
from ca.spiffe import jws
from ca.spiffe.svid import SvidError, X509Svid, verify_svid
from ca.store import StoreError

BODY_BYTES_MAX: Final = 64 * 1024
BODY_READ_S: Final = 10.0
PENDING_MAX: Final = 64
_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STATUS_REASONS: Final = {404: Reason.NOT_FOUND, 405: Reason.METHOD, 413: Reason.TOO_LARGE}
_log = logging.getLogger("narrowgate.ca")


@dataclass(slots=True)
class Api:
    """Builds the aiohttp application. `clock` gives POSIX seconds."""

    issuing: Issuing
    authority: Authority
    feed: Feed
    executor: Executor
    clock: Callable[[], float]
    heartbeat_s: float = 2.0
    pending: int = 0

    def application(self, admission: Admission) -> web.Application:
        """Return a fresh application with every route."""
        application = web.Application(
            middlewares=[admission.middleware(), _problems],
            client_max_size=BODY_BYTES_MAX,
            logger=_log,
        )
        application.router.add_post("/v1/attest", self.attest)
        application.router.add_post("/v1/renew", self.renew)
        application.router.add_get("/v1/control", self.control)
        application.router.add_get("/v1/bundle", self.bundle)
        application.router.add_get("/v1/health", self.health)
        application.on_response_prepare.append(_headers)
        return application

    async def attest(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/attest`: evidence for a first identity."""
        body = await _body(request, {"attestor", "evidence", "csr", "hop_key"})
        attestor, evidence = body["attestor"], body["evidence"]
        if not isinstance(attestor, str) or not isinstance(evidence, dict):
            raise Refused(Reason.MALFORMED, "`attestor` is a text and `evidence` an object")
        asked = SigningRequest.parse(body["csr"], body["hop_key"])
        peer = peer_process(_transport(request).get_extra_info("socket"))
        issued = await self._blocking(lambda: self.issuing.attest(attestor, evidence, asked, peer))
        return self._answer(issued, attestor)

    async def renew(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/renew`: a live SVID for its successor."""
        svid = self._caller(request)
        body = await _body(request, {"csr", "hop_key"})
        asked = SigningRequest.parse(body["csr"], body["hop_key"])
        issued = await self._blocking(lambda: self.issuing.renew(svid, asked))
        return self._answer(issued, "renew")

    async def control(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/control`: the stream of `ca.control`."""
        svid = self._caller(request)
        await self._blocking(lambda: self.issuing.admit(svid))
        if self.feed.streams >= STREAMS_MAX:
            raise Refused(Reason.BUSY, "too many control streams")
        if self.feed.view is None:
            raise Refused(Reason.STORE, "the state of the mesh cannot be read")
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        )
        response.enable_chunked_encoding()
        self.feed.streams += 1
        try:
            await response.prepare(request)
            stream = Stream(self.feed, svid, response, self.heartbeat_s, self.clock)
            why = await stream.run()
            _log.info("control stream of %s ends: %s", svid.id, why)
        except ConnectionError:
            _log.info("control stream of %s ends: the reader has gone", svid.id)
        finally:
            self.feed.streams -= 1
            response.force_close()
        return response

    async def bundle(self, _: web.Request) -> web.StreamResponse:
        """`GET /v1/bundle`: the trust bundle, for everybody."""
        return _json(self.authority.bundle.document())

    async def health(self, _: web.Request) -> web.StreamResponse:
        """`GET /v1/health`: 200 while the store can be read."""
        if not self.feed.fresh():
            raise Refused(Reason.STORE, "the state of the mesh cannot be read")
        return _json({"status": "ok"})

    def _caller(self, request: web.Request) -> X509Svid:
        """Return the caller's SVID, verified now; the store decides whether it is still good."""
        tls = _transport(request).get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if isinstance(tls, _TLS) else None
        if der is None:
            raise Refused(Reason.UNAUTHENTICATED, "connect with your current SVID (mutual TLS)")
        try:
            leaf = x509.load_der_x509_certificate(der)
            return verify_svid([leaf], self.authority.bundle, self.clock())
        except (SvidError, ValueError) as error:
            raise Refused(Reason.UNAUTHENTICATED, f"the SVID is refused: {error}") from error

    async def _blocking(self, work: Callable[[], _T]) -> _T:
        """Run store work on its thread, refusing when too much of it waits already."""
        if self.pending >= PENDING_MAX:
            raise Refused(Reason.BUSY, "too many requests at once")
        self.pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.executor, work)
        finally:
            self.pending -= 1

    def _answer(self, issued: Issued, how: str) -> web.Response:
        svid = issued.svid
        serial = serial_text(svid.serial)
        _log.info("issued %s to %s by %s until %d", serial, svid.id, how, svid.not_after_s)
        pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in svid.chain)
        return _json(
            {
                "workload": svid.id.uri,
                "svid": pem,
                "wit": issued.wit.token,
                "bundle": self.authority.bundle.document(),
            }
        )


_TLS: Final = (ssl.SSLObject, ssl.SSLSocket)


def _transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller has gone")
    return transport


async def _body(request: web.Request, members: set[str]) -> Mapping[str, object]:
    """Read a JSON object with exactly these members, bounded in size and time."""
    if request.content_type != "application/json":
        raise Refused(Reason.MALFORMED, "send Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_READ_S):
            raw = await request.read()
    except TimeoutError as error:
        raise Refused(Reason.TIMEOUT, f"the body must arrive in {BODY_READ_S:g} s") from error
    try:
        body = jws.json_object(raw)
    except jws.JwsError as error:
        raise Refused(Reason.MALFORMED, f"the body is {error}") from error
    if set(body) != members:
        raise Refused(Reason.MALFORMED, f"the body has exactly: {', '.join(sorted(members))}")
    return body


def _json(document: Mapping[str, object]) -> web.Response:
    return web.json_response(document, headers={"Cache-Control": "no-store"})


def _problem(reason: Reason, detail: str) -> web.Response:
    document = {
        "type": "about:blank",
        "title": reason.title,
        "status": reason.status,
        "reason": reason.label,
        "detail": detail,
    }
    response = web.Response(
        status=reason.status,
        body=json.dumps(document).encode(),
        content_type="application/problem+json",
    )
    if reason in (Reason.BUSY, Reason.STORE):
        response.headers["Retry-After"] = "1"
    if reason in (Reason.TOO_LARGE, Reason.TIMEOUT, Reason.REVOKED):
        response.force_close()
    return response


@web.middleware
async def _problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        _log.warning("%s %s refused: %s", request.method, request.path, refused)
        return _problem(refused.reason, refused.detail)
    except web.HTTPException as error:
        return _problem(_STATUS_REASONS.get(error.status, Reason.MALFORMED), "")
    except (StoreError, AuthorityError) as error:
        _log.error("%s %s failed: %s", request.method, request.path, error)
        reason = Reason.STORE if isinstance(error, StoreError) else Reason.INTERNAL
        return _problem(reason, "see the authority's log")
    except ConnectionError:
        raise
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return _problem(Reason.INTERNAL, "see the authority's log")


async def _headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "narrowgate"
