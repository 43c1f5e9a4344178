"""The edge: an access token of a configured issuer becomes a grant, or nothing does."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.commerce.idp import IdentityProvider, write_web_certificate
from policy.reason import Reason
from sidecar import edge as module
from sidecar.config import Address, Edge, Issuer
from sidecar.control.mesh import Mesh
from sidecar.edge import EdgeError, EdgeGrants, edge_context
from sidecar.token.jwks import DOCUMENT_BYTES_MAX
from sidecar.token.refusal import TokenRefused
from sidecar.token.signer import HopSigner
from tests.support.identities import IDP, Identities, delta, workload

KEY = {"key": "A" * 43}


class Bench:
    def __init__(self, identities: Identities, folder: Path) -> None:
        self.now_s = time.time()
        self.provider = IdentityProvider(IDP, "shop")
        self.folder = folder
        self.provider.write_jwks(folder / "jwks.json")
        self.held = identities.credentials("edge")
        self.mesh = Mesh(workload("edge"), identities.bundle)
        issuer = Issuer(issuer=IDP, audience="shop", jwks_file=folder / "jwks.json")
        self.settings = Edge(
            listen=Address("127.0.0.1", 1),
            certificate_file=folder / "edge.pem",
            key_file=folder / "edge.key",
            issuers=(issuer,),
        )
        self.signer = HopSigner(self.held.hop_key, self.held.wit)
        self.edge = EdgeGrants(self.settings, self.mesh, self.signer, lambda count: b"r" * count)
        listed = identities.issuers("edge")
        self.mesh.apply(identities.snapshot(1, issuers=listed, pseudonyms=KEY), self.now_s)

    async def refused(self, authorization: str) -> Reason:
        with pytest.raises(TokenRefused) as info:
            await self.edge.grant(authorization.encode(), self.now_s)
        return info.value.reason


@pytest.fixture
def bench(identities: Identities, tmp_path: Path) -> Bench:
    return Bench(identities, tmp_path)


async def test_an_access_token_becomes_a_grant(bench: Bench) -> None:
    token = bench.provider.access_token(["read", "other"])
    grant = await bench.edge.grant(f"Bearer {token}".encode(), bench.now_s)
    assert grant.scope == {"read"}, "what is above the ceiling is not handed on"
    assert grant.requesting_workload == grant.issuer == workload("edge")
    assert "alice" not in grant.subject
    assert token not in repr(grant)
    assert grant.expires_at_s <= bench.now_s + 61
    await bench.edge.close()


async def test_credentials_that_are_none(bench: Bench) -> None:
    good = bench.provider.access_token(["read"])
    other = IdentityProvider(IDP, "shop").access_token(["read"])
    for text in ("", "Bearer", "Bearer x", f"Basic {good}", f"Bearer {other}", f"Bearer {good}x"):
        assert await bench.refused(text) in (Reason.CREDENTIAL_INVALID, Reason.CREDENTIAL_MISSING)
    old = bench.provider.access_token(["read"], lifetime_s=-5)
    assert await bench.refused(f"Bearer {old}") is Reason.CREDENTIAL_EXPIRED
    wrong = bench.provider.access_token(["read"], audience="another")
    assert await bench.refused(f"Bearer {wrong}") is Reason.CREDENTIAL_INVALID


async def test_only_a_listed_workload_mints(bench: Bench, identities: Identities) -> None:
    token = f"Bearer {bench.provider.access_token(['read'])}"
    bench.mesh.apply(delta(2, pseudonyms=None), bench.now_s)
    assert await bench.refused(token) is Reason.ISSUER_NOT_LISTED
    bench.mesh.apply(delta(3, pseudonyms=KEY, issuers=identities.issuers("orders")), bench.now_s)
    assert await bench.refused(token) is Reason.ISSUER_NOT_LISTED
    bench.mesh.apply(delta(4, issuers=identities.issuers("edge")), bench.now_s)
    assert (await bench.edge.grant(token.encode(), bench.now_s)).scope == {"read"}


async def test_keys_that_are_not_to_be_had(bench: Bench) -> None:
    (bench.folder / "jwks.json").unlink()
    token = bench.provider.access_token(["read"])
    assert await bench.refused(f"Bearer {token}") is Reason.ISSUER_KEYS_UNAVAILABLE


async def test_after_a_rotation_the_new_key_signs(bench: Bench, identities: Identities) -> None:
    fresh = identities.credentials("edge")
    bench.edge.signer_changed(HopSigner(fresh.hop_key, fresh.wit))
    token = f"Bearer {bench.provider.access_token(['read'])}"
    grant = await bench.edge.grant(token.encode(), bench.now_s)
    old = HopSigner(bench.held.hop_key, bench.held.wit)
    assert grant.root.split(".")[0] != old.sign({}, "txntoken+jwt").split(".")[0]


def test_the_edges_own_certificate(bench: Bench) -> None:
    write_web_certificate(bench.settings.certificate_file, bench.settings.key_file)
    made = edge_context(bench.settings)
    assert made.verify_mode is ssl.CERT_NONE
    assert made.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("how", ["missing", "folder", "empty", "garbage", "another", "encrypted"])
def test_a_key_that_cannot_be_used_is_one_clear_error(how: str, bench: Bench) -> None:
    certificate, key = bench.settings.certificate_file, bench.settings.key_file
    write_web_certificate(certificate, key)
    if how == "missing":
        key.unlink()
    elif how == "folder":
        key.unlink()
        key.mkdir()
    elif how == "empty":
        key.write_bytes(b"")
    elif how == "garbage":
        key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    else:
        locked = serialization.BestAvailableEncryption(b"x")
        plain = serialization.NoEncryption()
        key.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                locked if how == "encrypted" else plain,
            )
        )
    with pytest.raises(EdgeError) as info:
        edge_context(bench.settings)
    assert str(key) in str(info.value)
    assert "passphrase" in str(info.value) or how != "encrypted"


async def answer(body: bytes, status: str = "200 OK") -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"


async def test_keys_by_url() -> None:
    server, url = await answer(b'{"keys": []}')
    assert await module._url_source(url)() == b'{"keys": []}'
    server.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x" * (DOCUMENT_BYTES_MAX + 1), "200 OK"), (b"", "302 Found"), (b"", "500 No")],
)
async def test_what_is_no_key_set_by_url(body: bytes, status: str) -> None:
    server, url = await answer(body, status)
    with pytest.raises(ValueError, match="issuer"):
        await module._url_source(url)()
    server.close()
