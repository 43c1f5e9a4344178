"""The API over real TLS 1.3: what it gives, and everything that it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.api import BODY_BYTES_MAX
from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from ca.spiffe.svid import X509Svid, leaf_id, verify_svid
from ca.spiffe.wit import verify_wit

ORDERS = "spiffe://shop.example/ns/shop/sa/orders"
STOCK = "spiffe://shop.example/ns/shop/sa/stock"


def _bundle(answer: dict[str, Any]) -> TrustBundle:
    return TrustBundle.parse(TrustDomain.parse("shop.example"), answer["bundle"])


async def test_attest_gives_an_identity_that_verifies(running: Any, make_keys: Any) -> None:
    keys = make_keys()
    status, answer = await running.attest(keys)
    assert status == 200 and answer["workload"] == ORDERS
    bundle, now_s = _bundle(answer), running.clock()
    svid = verify_svid(X509Svid.parse_pem(answer["svid"].encode()).chain, bundle, now_s)
    wit = verify_wit(answer["wit"], bundle, now_s)
    assert svid.id.uri == wit.id.uri == ORDERS
    assert svid.chain[0].public_key() == keys.tls.public_key()
    assert wit.key == keys.hop.public_key()
    assert wit.expires_at_s == svid.not_after_s
    assert 3590 < svid.not_after_s - now_s <= 3600


async def test_the_server_is_an_svid_over_tls13(running: Any) -> None:
    host, port = running.server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=running.tls())
    tls = writer.get_extra_info("ssl_object")
    leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
    assert leaf_id(leaf).uri == "spiffe://shop.example/narrowgate/authority"
    assert tls.version() == "TLSv1.3"
    writer.close()
    await writer.wait_closed()
    old = running.tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection(host, int(port), ssl=old)
    assert reader.at_eof()


async def test_bundle_and_health_need_no_certificate(running: Any) -> None:
    async with running.client() as session:
        async with session.get("/v1/bundle") as response:
            document = await response.json()
            assert response.headers["Server"] == "narrowgate"
        async with session.get("/v1/health") as response:
            assert response.status == 200
    assert json.loads(running.cli("bundle")) == document


async def test_a_join_token_is_good_once(running: Any, make_keys: Any) -> None:
    token = running.cli("token create", "--id", ORDERS)
    assert (await running.attest(make_keys(), token))[0] == 200
    status, problem = await running.attest(make_keys(), token)
    assert (status, problem["reason"]) == (403, "join_token_used")


async def test_a_join_token_raced_by_two_is_good_once(running: Any, make_keys: Any) -> None:
    token = running.cli("token create", "--id", ORDERS)
    answers = await asyncio.gather(*(running.attest(make_keys(), token) for _ in range(4)))
    assert sorted(status for status, _ in answers) == [200, 403, 403, 403]


async def test_a_join_token_expires(running: Any, make_keys: Any) -> None:
    token = running.cli("token create", "--id", ORDERS, "--ttl-s", "5")
    running.clock.ahead_s = 6
    status, problem = await running.attest(make_keys(), token)
    assert (status, problem["reason"]) == (403, "join_token_expired")


async def test_a_refused_request_leaves_the_token_usable(running: Any, make_keys: Any) -> None:
    running.cli("entry create", "--id", STOCK)
    token = running.cli("token create", "--id", ORDERS)
    keys = make_keys()
    status, problem = await running.attest(keys, token, csr=keys.csr(uri=STOCK))
    assert (status, problem["reason"]) == (403, "other_workload")
    assert (await running.attest(keys, token, csr=keys.csr(uri=ORDERS)))[0] == 200


def _rsa_csr(keys: Any) -> str:
    keys.tls = rsa.generate_private_key(65537, 2048)
    return str(keys.csr())


def _p384_csr(keys: Any) -> str:
    keys.tls = ec.generate_private_key(ec.SECP384R1())
    return str(keys.csr())


def _usage(**set_: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: set_.get(name, False) for name in names})


@pytest.mark.parametrize(
    "csr",
    [
        lambda keys: keys.csr(extra=[x509.BasicConstraints(True, None)]),
        lambda keys: keys.csr(extra=[_usage(key_cert_sign=True)]),
        lambda keys: keys.csr(
            extra=[
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(ORDERS), x509.DNSName("orders")]
                )
            ]
        ),
        lambda keys: keys.csr(extra=[x509.SubjectAlternativeName([x509.DNSName("orders")])]),
        lambda keys: keys.csr(uri="spiffe://shop.example/%61"),
        _rsa_csr,
        _p384_csr,
        lambda keys: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        lambda keys: "A" * 9000,
        lambda keys: 7,
    ],
    ids=["ca", "certSign", "two names", "dns", "percent", "rsa", "p384", "junk", "long", "number"],
)
async def test_csr_refused(running: Any, make_keys: Any, csr: Any) -> None:
    keys = make_keys()
    status, problem = await running.attest(keys, csr=csr(keys))
    assert (status, problem["reason"]) == (400, "csr_refused")


async def test_csr_subject_never_reaches_the_certificate(running: Any, make_keys: Any) -> None:
    keys = make_keys()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    pem = request.sign(keys.tls, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    status, answer = await running.attest(keys, csr=pem)
    leaf = X509Svid.parse_pem(answer["svid"].encode()).chain[0]
    assert status == 200 and list(leaf.subject) == []


async def test_hop_key_refused(running: Any, make_keys: Any) -> None:
    keys = make_keys()
    for hop in (
        jws.ec_jwk(keys.tls.public_key()),
        {**keys.jwk(), "d": "AAAA"},
        {**keys.jwk(), "crv": "P-384"},
        {"kty": "oct", "k": "AAAA"},
        "text",
    ):
        status, problem = await running.attest(keys, hop_key=hop)
        assert (status, problem["reason"]) == (400, "hop_key_refused")


async def test_keys_serve_one_workload_and_one_purpose(running: Any, make_keys: Any) -> None:
    running.cli("entry create", "--id", STOCK)
    first = make_keys()
    assert (await running.attest(first))[0] == 200
    crossed, same_hop = make_keys(), make_keys()
    crossed.hop = first.tls
    same_hop.hop = first.hop
    for keys, name in ((crossed, ORDERS), (same_hop, STOCK)):
        token = running.cli("token create", "--id", name)
        status, problem = await running.attest(keys, token)
        assert (status, problem["reason"]) == (403, "key_reused")


async def test_renew(running: Any, make_keys: Any) -> None:
    keys, fresh = make_keys(), make_keys()
    _, answer = await running.attest(keys)
    body = {"csr": fresh.csr(uri=ORDERS), "hop_key": fresh.jwk()}
    status, renewed = await running.post("/v1/renew", body, keys, answer)
    assert status == 200 and renewed["workload"] == ORDERS
    assert renewed["svid"] != answer["svid"]
    assert (await running.post("/v1/renew", body, fresh, renewed))[0] == 200
    body["csr"] = fresh.csr(uri=STOCK)
    status, problem = await running.post("/v1/renew", body, fresh, renewed)
    assert (status, problem["reason"]) == (403, "other_workload")


async def test_renew_and_control_need_a_certificate(running: Any, make_keys: Any) -> None:
    keys = make_keys()
    status, problem = await running.post("/v1/renew", {"csr": keys.csr(), "hop_key": keys.jwk()})
    assert (status, problem["reason"]) == (401, "unauthenticated")
    async with running.client() as session, session.get("/v1/control") as response:
        assert response.status == 401


async def test_a_certificate_that_we_did_not_record(running: Any, make_keys: Any) -> None:
    keys, name = make_keys(), SpiffeId.parse(ORDERS)
    issued = running.server.authority.issue(
        name, keys.tls.public_key(), keys.hop.public_key(), 60, running.clock()
    )
    answer = {"svid": issued.svid.chain[0].public_bytes(Encoding.PEM).decode()}
    body = {"csr": keys.csr(), "hop_key": keys.jwk()}
    status, problem = await running.post("/v1/renew", body, keys, answer)
    assert (status, problem["reason"]) == (403, "not_issued")


@pytest.mark.parametrize("what", ["serial", "workload", "key", "hop key", "entry"])
async def test_revoked_renews_nothing(running: Any, make_keys: Any, what: str) -> None:
    keys, fresh = make_keys(), make_keys()
    _, answer = await running.attest(keys)
    svid = X509Svid.parse_pem(answer["svid"].encode())
    thumbprints = keys.thumbprints()
    arguments = {
        "serial": ("revoke", "--serial", f"0x{svid.serial:X}"),
        "workload": ("revoke", "--workload", ORDERS),
        "key": ("revoke", f"--key={thumbprints[0]}"),
        "hop key": ("revoke", f"--key={thumbprints[1]}"),
        "entry": ("entry delete", "--id", ORDERS),
    }[what]
    running.cli(*arguments)
    body = {"csr": fresh.csr(), "hop_key": fresh.jwk()}
    status, problem = await running.post("/v1/renew", body, keys, answer)
    assert (status, problem["reason"]) == (403, "no_entry" if what == "entry" else "revoked")
    async with running.client(keys, answer) as session, session.get("/v1/control") as response:
        assert response.status == 403


async def test_a_revoked_workload_cannot_attest_again(running: Any, make_keys: Any) -> None:
    running.cli("revoke", "--workload", ORDERS)
    status, problem = await running.attest(make_keys())
    assert (status, problem["reason"]) == (403, "revoked")
    running.cli("restore", "--workload", ORDERS)
    assert (await running.attest(make_keys()))[0] == 200


async def test_unix_attestation_by_kernel_credentials(running: Any, make_keys: Any) -> None:
    running.cli("entry create", "--id", STOCK, "--selector", f"unix:uid:{os.getuid()}")
    keys = make_keys()
    body = {"attestor": "unix", "evidence": {}, "csr": keys.csr(), "hop_key": keys.jwk()}
    connector = aiohttp.UnixConnector(str(running.server.options.socket))
    async with aiohttp.ClientSession("http://authority", connector=connector) as session:
        async with session.post("/v1/attest", json=body) as response:
            assert response.status == 200
            assert (await response.json())["workload"] == STOCK
        renew = {"csr": keys.csr(), "hop_key": keys.jwk()}
        async with session.post("/v1/renew", json=renew) as response:
            assert response.status == 401
    status, problem = await running.post("/v1/attest", body)
    assert (status, problem["reason"]) == (403, "attestation_refused")


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"data": b"{"}, 400, "malformed"),
        ({"data": b"[]"}, 400, "malformed"),
        ({"data": b'{"csr":1,"csr":2}'}, 400, "malformed"),
        ({"data": b"{}"}, 400, "malformed"),
        ({"data": b"[" * 30_000}, 400, "malformed"),
        ({"data": b" " * (BODY_BYTES_MAX + 1)}, 413, "too_large"),
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 400, "malformed"),
    ],
)
async def test_bodies_refused(running: Any, how: Any, status: int, reason: str) -> None:
    how = {"headers": {"Content-Type": "application/json"}, **how}
    got, problem = await running.post("/v1/attest", None, **how)
    assert (got, problem["reason"], problem["status"]) == (status, reason, status)
    assert problem["type"] == "about:blank"


@pytest.mark.parametrize(
    "change",
    [{"attestor": "magic"}, {"attestor": 7}, {"evidence": []}, {"evidence": {"token": 7}}],
)
async def test_attest_members_refused(running: Any, make_keys: Any, change: Any) -> None:
    status, problem = await running.attest(make_keys(), **change)
    assert status == 400 and problem["reason"] in ("malformed", "unknown_attestor")


async def test_unknown_token(running: Any, make_keys: Any) -> None:
    status, problem = await running.attest(make_keys(), "ngj_guess")
    assert (status, problem["reason"]) == (403, "attestation_refused")
    assert "guess" not in json.dumps(problem)


async def test_paths_and_methods(running: Any) -> None:
    async with running.client() as session:
        for method, path, status in (("GET", "/v2", 404), ("GET", "/v1/attest", 405)):
            async with session.request(method, path) as response:
                assert response.status == status
                assert response.content_type == "application/problem+json"


async def test_too_much_at_once_is_busy(running: Any, make_keys: Any) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    held = threading.Event()
    running.server._executor.submit(lambda: (loop.call_soon_threadsafe(gate.set), held.wait(30)))
    await gate.wait()
    keys = make_keys()
    token = "ngj_x"
    answers = [asyncio.create_task(running.attest(keys, token)) for _ in range(70)]
    done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    held.set()
    status, problem = next(iter(done)).result()
    assert (status, problem["reason"]) == (503, "busy")
    assert {result[0] for result in await asyncio.gather(*answers)} == {403, 503}
