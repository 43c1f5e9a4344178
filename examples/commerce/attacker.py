"""The attacker: somebody who took over a workload, with its SVID, its keys and what it receives.

This is the strongest position the threat model grants: not only the application but the whole
sidecar is theirs. They can attest as that workload, speak mutual TLS, sign hops with the certified
hop key, and receive real calls. They use the mesh's own code for the formats. What they cannot do
is what the scenarios show.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import TrustDomain
from ca.spiffe.jws import b64url_decode, ec_jwk, json_object, sign
from examples.commerce.client import TIMEOUT_S, Answer, Request, post, send
from examples.commerce.topology import TRUST_DOMAIN
from sidecar.token.chain import HOP_TYPE, ROOT_TYPE, SEPARATOR, digest


class Loot(NamedTuple):
    """A transaction token and its hops as they arrived at a workload."""

    root: str
    hops: str

    @property
    def claims(self) -> Mapping[str, object]:
        """The root's claims, read without verifying."""
        return _claims(self.root)

    @property
    def txn(self) -> str:
        return str(self.claims["txn"])

    @property
    def expires_at_s(self) -> float:
        """When the root and its last hop have both expired."""
        return min(_seconds(self.root), _seconds(self.last))

    @property
    def scope(self) -> tuple[str, ...]:
        """What the last hop hands on, or the root grants when there is none."""
        return tuple(str(_claims(self.last)["scope"]).split())

    @property
    def last(self) -> str:
        """The last hop, or the root when there is none."""
        return self.hops.split(SEPARATOR)[-1] if self.hops else self.root

    def first_hops(self, count: int) -> Loot:
        """With only the first `count` hops."""
        return Loot(self.root, SEPARATOR.join(self.hops.split(SEPARATOR)[:count]))

    def fields(self) -> dict[str, str]:
        """As header fields; an empty part is left out."""
        named = {"Txn-Token": self.root, "Txn-Hops": self.hops}
        return {name: value for name, value in named.items() if value}


def _claims(token: str) -> Mapping[str, object]:
    return json_object(b64url_decode(token.split(".")[1].encode()))


def _seconds(token: str) -> float:
    expires_at_s = _claims(token)["exp"]
    return float(expires_at_s) if isinstance(expires_at_s, int | float) else 0.0


@dataclass(frozen=True)
class Identity:
    """Everything that makes a peer that workload: SVID and its key, WIT and the hop key."""

    id: str
    svid_pem: bytes = field(repr=False)
    svid_key: ec.EllipticCurvePrivateKey = field(repr=False)
    wit: str = field(repr=False)
    hop_key: ec.EllipticCurvePrivateKey = field(repr=False)
    roots_pem: str = field(repr=False)

    @property
    def serial(self) -> str:
        """The SVID's serial number in hex, as the authority lists it."""
        return f"{x509.load_pem_x509_certificate(self.svid_pem).serial_number:x}"

    def context(self, *, server_side: bool = False) -> ssl.SSLContext:
        """A TLS 1.3 context that presents the SVID and verifies against the trust bundle."""
        made = mesh_context(self.roots_pem, server_side=server_side)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.pem"
            path.touch(mode=0o600)
            path.write_bytes(_key_pem(self.svid_key) + self.svid_pem)
            made.load_cert_chain(path)
        return made

    def connect(self, port: int) -> http.client.HTTPSConnection:
        """A connection to the gate on `port` that is not open yet, for several requests."""
        return _connection(self.context(), port)

    def call(self, port: int, request: Request, loot: Loot | None = None) -> Answer:
        """One request to the inbound gate on `port`, as this workload, perhaps with tokens."""
        if loot is not None:
            request = request.with_fields(loot.fields())
        return mesh_call(self.context(), port, request)

    def hand_on(
        self,
        loot: Loot,
        to: str,
        *,
        scope: Sequence[str] | None = None,
        claims: Mapping[str, object] | None = None,
    ) -> Loot:
        """Append a hop to `to` with our own certified key; `claims` replaces what is honest."""
        honest = {
            "iss": self.id,
            "aud": to,
            "txn": loot.txn,
            "scope": " ".join(sorted(loot.scope if scope is None else scope)),
            "iat": int(time.time()),
            "exp": min(loot.expires_at_s, _seconds(self.wit)),
            "prev": digest(SEPARATOR.join(part for part in loot if part)),
        }
        hop = sign({**honest, **(claims or {})}, self.hop_key, typ=HOP_TYPE, headers=self._header)
        return Loot(loot.root, SEPARATOR.join(part for part in (loot.hops, hop) if part))

    def make_root(self, scope: Sequence[str]) -> Loot:
        """A root of our own making, as an edge would make it."""
        now_s = int(time.time())
        claims = {
            "iss": self.id,
            "aud": TRUST_DOMAIN,
            "iat": now_s,
            "exp": now_s + 30,
            "txn": os.urandom(16).hex(),
            "sub": "somebody-rich",
            "scope": " ".join(sorted(scope)),
            "req_wl": self.id,
            "tctx": {},
            "rctx": {},
        }
        return Loot(sign(claims, self.hop_key, typ=ROOT_TYPE, headers=self._header), "")

    @property
    def _header(self) -> Mapping[str, object]:
        return {"wit": self.wit}


def mesh_context(roots_pem: str, *, server_side: bool = False) -> ssl.SSLContext:
    """A TLS 1.3 context of the mesh, yet without a certificate of its own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=roots_pem)
    made.set_alpn_protocols(["http/1.1"])
    return made


def mesh_call(context: ssl.SSLContext, port: int, request: Request) -> Answer:
    """One request over a TLS context of our choice to a gate on `port`."""
    return send(_connection(context, port), request)


def _connection(context: ssl.SSLContext, port: int) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=TIMEOUT_S)


def attest(authority_port: int, bundle_document: Mapping[str, object], token: str) -> Identity:
    """Become a workload with a join token, exactly as a sidecar does (POST /v1/attest)."""
    svid_key = ec.generate_private_key(ec.SECP256R1())
    hop_key = ec.generate_private_key(ec.SECP256R1())
    roots_pem = TrustBundle.parse(TrustDomain.parse(TRUST_DOMAIN), bundle_document).pem()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = request.sign(svid_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    evidence = {
        "attestor": "join_token",
        "evidence": {"token": token},
        "csr": csr.decode(),
        "hop_key": ec_jwk(hop_key.public_key()),
    }
    answer = mesh_call(mesh_context(roots_pem), authority_port, post("/v1/attest", evidence))
    if answer.status != http.client.OK:
        raise RuntimeError(f"attestation failed: {answer} {answer.body[:300]!r}")
    given = answer.json()
    svid = str(given["svid"]).encode()
    return Identity(str(given["workload"]), svid, svid_key, str(given["wit"]), hop_key, roots_pem)


def impostor(identity: Identity) -> ssl.SSLContext:
    """A context with a self-made certificate that merely claims the identity's SPIFFE ID."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "trust me")])
    real = x509.load_pem_x509_certificate(identity.svid_pem)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(real.issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.id)]),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    fake = Identity(identity.id, pem, key, identity.wit, identity.hop_key, identity.roots_pem)
    return fake.context()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Trap:
    """Listens where a taken-over workload's gate listened, answers politely, keeps the tokens."""

    def __init__(self, identity: Identity, port: int) -> None:
        self.loot: list[Loot] = []
        trap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            timeout = TIMEOUT_S

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                trap.keep(self.headers.get("Txn-Token"), self.headers.get("Txn-Hops"))
                data = json.dumps({"id": "trapped", "entry": 0}).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """An attacker writes no log."""

        self._server = _TrapServer(("127.0.0.1", port), Handler)
        self._server.tls = identity.context(server_side=True)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def keep(self, root: str | None, hops: str | None) -> None:
        """Remember what a call brought."""
        self.loot.append(Loot(root or "", hops or ""))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _TrapServer(ThreadingHTTPServer):
    """Does the TLS handshake in the connection's own thread."""

    daemon_threads = True
    tls: ssl.SSLContext

    def finish_request(self, request: object, client_address: object) -> None:
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:  # type: ignore[arg-type]
                secured.settimeout(TIMEOUT_S)
                super().finish_request(secured, client_address)
        except OSError:
            return  # a caller that does not get through TLS is of no use to the attacker
