"""TLS as bytes: two state machines face to face, then one against Python's own and bad input."""

from __future__ import annotations

import ssl
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sidecar.net.tls import Tls, TlsFailure, context
from tests.support.certs import CertificateAuthority, Issued


@pytest.fixture(scope="session")
def orders(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/orders")


@pytest.fixture(scope="session")
def payments(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/payments")


def shake(client: Tls, server: Tls) -> None:
    """Carry bytes until both are established, one byte at a time."""
    client.start()
    server.start()
    for _ in range(8):
        for source, sink in ((client, server), (server, client)):
            for byte in source.output():
                assert sink.feed(bytes([byte])) == b""
        if client.established and server.established:
            return
    pytest.fail("no handshake")


@pytest.fixture
def pair(authority: CertificateAuthority, orders: Issued, payments: Issued) -> tuple[Tls, Tls]:
    client = Tls(authority.client(orders), server_side=False)
    server = Tls(authority.server(payments), server_side=True)
    shake(client, server)
    return client, server


def test_both_prove_themselves(pair: tuple[Tls, Tls], orders: Issued, payments: Issued) -> None:
    client, server = pair
    assert client.peer_certificate() == payments.der
    assert server.peer_certificate() == orders.der


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 100_000, 1_000_000])
def test_every_byte_passes_at_once(pair: tuple[Tls, Tls], size: int) -> None:
    """A message over one record (16 KiB) is not cut after the first."""
    client, server = pair
    data = bytes(range(256)) * (size // 256 + 1)
    sent = client.encrypt(data[:size])
    assert server.feed(sent) == data[:size]
    assert not server.closed


def test_records_split_anywhere(pair: tuple[Tls, Tls]) -> None:
    client, server = pair
    sent = client.encrypt(b"x" * 40_000)
    cuts = [0, 1, 5, 6, 16_000, 16_406, 16_407, 33_000, len(sent)]
    got = b"".join(server.feed(sent[a:b]) for a, b in pairwise(cuts))
    assert got == b"x" * 40_000


def test_close_notify_ends_and_later_bytes_are_dropped(pair: tuple[Tls, Tls]) -> None:
    client, server = pair
    last = client.encrypt(b"last")
    assert server.feed(last + client.close()) == b"last"
    assert server.closed
    for _ in range(50):
        assert server.feed(b"\x17\x03\x03\x40\x00" + b"x" * 16_384) == b""
    assert server._in.pending == 0
    assert client.feed(server.encrypt(b"an answer")) == b"an answer"


def test_a_broken_record_is_a_failure(pair: tuple[Tls, Tls]) -> None:
    client, server = pair
    sent = bytearray(client.encrypt(b"hello"))
    sent[-1] ^= 1
    with pytest.raises(TlsFailure, match="mac"):
        server.feed(bytes(sent))
    assert server.output()


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 64, b"\xff" * 20_000],
)
def test_garbage_instead_of_a_hello(
    authority: CertificateAuthority, payments: Issued, data: bytes
) -> None:
    server = Tls(authority.server(payments), server_side=True)
    server.start()
    with pytest.raises(TlsFailure) as caught:
        server.feed(data)
    assert "GET" not in str(caught.value)
    assert not server.established


def test_no_session_is_resumed(authority: CertificateAuthority, payments: Issued) -> None:
    mine = authority.client(authority.issue("ns/shop/sa/orders"))
    theirs = authority.server(payments)
    first = Tls(mine, server_side=False)
    server = Tls(theirs, server_side=True)
    shake(first, server)
    first.feed(server.encrypt(b"x"))
    assert first._object.session is None or not first._object.session.has_ticket
    assert not theirs.session_stats()["hits"]
    assert theirs.num_tickets == 0


def refusal(client: Tls, server: Tls) -> TlsFailure:
    """Run a handshake that has to fail on either side."""
    with pytest.raises(TlsFailure) as caught:
        client.start()
        server.start()
        for _ in range(6):
            try:
                server.feed(client.output())
            finally:
                alert = server.output()
            client.feed(alert)
    return caught.value


def test_tls_1_2_is_refused(authority: CertificateAuthority, payments: Issued) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    server = Tls(authority.server(payments), server_side=True)
    failure = refusal(Tls(old, server_side=False), server)
    assert "protocol" in str(failure)


def test_without_a_client_certificate(authority: CertificateAuthority, payments: Issued) -> None:
    server = Tls(authority.server(payments), server_side=True)
    failure = refusal(Tls(authority.client(None), server_side=False), server)
    assert str(failure) == "peer_did_not_return_a_certificate"
    assert not server.established


def test_certificates_of_another_authority(
    authority: CertificateAuthority, orders: Issued, payments: Issued
) -> None:
    other = CertificateAuthority()
    stranger = other.issue("ns/shop/sa/orders")
    mixed = context(
        server_side=False,
        chain_pem=stranger.chain_pem,
        key_pem=stranger.key_pem,
        roots_pem=authority.pem,
    )
    server = Tls(authority.server(payments), server_side=True)
    assert str(refusal(Tls(mixed, server_side=False), server)) == "certificate_verify_failed"
    server = Tls(other.server(stranger), server_side=True)
    client = Tls(authority.client(orders), server_side=False)
    assert "certificate_verify_failed" in str(refusal(client, server))


@pytest.mark.parametrize("which", ["expired", "future"])
def test_certificates_out_of_their_time(
    authority: CertificateAuthority, payments: Issued, which: str
) -> None:
    times: dict[str, Any] = {"life_s": -10.0} if which == "expired" else {"began_s": -600.0}
    server = Tls(authority.server(payments), server_side=True)
    bad = authority.issue("ns/shop/sa/orders", **times)
    failure = refusal(Tls(authority.client(bad), server_side=False), server)
    assert str(failure) == "certificate_verify_failed"


def test_the_edge_asks_for_no_certificate(
    authority: CertificateAuthority, payments: Issued
) -> None:
    server = Tls(authority.server(payments, mutual=False), server_side=True)
    shake(Tls(authority.client(None), server_side=False), server)
    assert server.peer_certificate() is None


def test_contexts_that_make_no_sense(authority: CertificateAuthority, orders: Issued) -> None:
    other = authority.issue("ns/shop/sa/orders")
    with pytest.raises(ssl.SSLError):
        context(server_side=False, chain_pem=b"", key_pem=b"", roots_pem=None)
    with pytest.raises(ssl.SSLError):
        context(
            server_side=True,
            chain_pem=orders.chain_pem,
            key_pem=other.key_pem,
            roots_pem=authority.pem,
        )
    with pytest.raises((ssl.SSLError, ValueError)):
        context(server_side=False, chain_pem=b"", key_pem=b"", roots_pem="")


def test_an_encrypted_key_is_refused_without_asking_the_terminal(
    authority: CertificateAuthority, orders: Issued
) -> None:
    key = serialization.load_pem_private_key(orders.key_pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ssl.SSLError):
        context(
            server_side=True, chain_pem=orders.chain_pem, key_pem=locked, roots_pem=authority.pem
        )
