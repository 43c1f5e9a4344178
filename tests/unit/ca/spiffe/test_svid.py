"""X509-SVIDs: the fixtures of three implementations, then chains that we sign ourselves."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import TrustDomain
from ca.spiffe.svid import SvidError, X509Svid, leaf_id, verify_svid

_DOMAIN = TrustDomain.parse("shop.example")
_NAME = "spiffe://shop.example/ns/shop/sa/orders"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_NOW_S = _NOW.timestamp()
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _usage(*set_: str) -> x509.KeyUsage:
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
    return x509.KeyUsage(**{name: name in set_ for name in names})


def _certificate(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    ca: bool = False,
    path_length: int | None = None,
    uris: Sequence[str] = (_NAME,),
    usage: x509.KeyUsage | None = None,
    eku: Sequence[x509.ObjectIdentifier] = (_SERVER, _CLIENT),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    life: timedelta = timedelta(hours=1),
    digest: Any = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - timedelta(minutes=1))
        .not_valid_after(_NOW + life)
        .add_extension(x509.BasicConstraints(ca, path_length), True)
        .add_extension(usage or _usage("key_cert_sign" if ca else "digital_signature"), True)
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if eku and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), False)
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, digest or hashes.SHA256())


class _Mesh:
    """A root and one intermediate; `leaf(...)` signs by the root."""

    def __init__(self, **root: Any) -> None:
        self.key, self.middle_key = _key(), _key()
        root_name = ["spiffe://shop.example"]
        self.root = _certificate(
            "root", self.key, "root", self.key, **{"ca": True, "uris": root_name, **root}
        )
        self.middle = _certificate(
            "middle", self.middle_key, "root", self.key, ca=True, uris=root_name
        )
        self.bundle = TrustBundle(_DOMAIN, (self.root,), {})

    def leaf(self, **how: Any) -> x509.Certificate:
        return _certificate("leaf", how.pop("key", None) or _key(), "root", self.key, **how)

    def below(self, **how: Any) -> x509.Certificate:
        return _certificate("leaf", _key(), "middle", self.middle_key, **how)


def test_fixtures_of_other_implementations(corpus: Any) -> None:
    cases = corpus("spiffe/x509_svid_fixtures.json")["cases"]
    assert len(cases) >= 36
    for case in cases:
        try:
            if case["chain_der_b64"]:
                ders = [base64.b64decode(one) for one in case["chain_der_b64"]]
                X509Svid.of_chain([x509.load_der_x509_certificate(der) for der in ders])
            else:
                X509Svid.parse_pem(base64.b64decode(case["raw_b64"]))
            accepted = True
        except SvidError:
            accepted = False
        assert accepted is case["valid"], case["name"]


def test_direct_leaf_and_leaf_below_an_intermediate() -> None:
    mesh = _Mesh()
    leaf = mesh.leaf()
    svid = verify_svid([leaf], mesh.bundle, _NOW_S)
    assert str(svid.id) == _NAME
    assert svid.serial == leaf.serial_number
    assert svid.not_after_s == _NOW_S + 3600
    verify_svid([mesh.below(), mesh.middle], mesh.bundle, _NOW_S)
    pem = leaf.public_bytes(Encoding.PEM) + mesh.middle.public_bytes(Encoding.PEM)
    assert X509Svid.parse_pem(pem).chain == (leaf, mesh.middle)


@pytest.mark.parametrize(
    "how",
    [
        {"uris": ()},
        {"uris": (_NAME, "https://shop.example")},
        {"uris": (_NAME, _NAME)},
        {"uris": ("spiffe://shop.example",)},
        {"uris": ("https://shop.example/a",)},
        {"uris": ("spiffe://Shop.example/a",)},
        {"usage": _usage()},
        {"usage": _usage("digital_signature", "key_cert_sign")},
        {"usage": _usage("digital_signature", "crl_sign")},
        {"eku": (_SERVER,)},
        {"eku": (_CLIENT,)},
        {"ca": True, "usage": _usage("digital_signature")},
        {"extra": [(_UNKNOWN, True)]},
    ],
)
def test_leaf_rules(how: dict[str, Any]) -> None:
    with pytest.raises(SvidError):
        leaf_id(_Mesh().leaf(**how))


def test_a_stranger_signed_it() -> None:
    mesh, stranger = _Mesh(), _Mesh()
    with pytest.raises(SvidError, match="no authority"):
        verify_svid([stranger.leaf()], mesh.bundle, _NOW_S)
    with pytest.raises(SvidError, match="no authority"):  # same names, another key
        verify_svid([stranger.below(), mesh.middle], mesh.bundle, _NOW_S)


def test_a_bundle_without_authorities_trusts_nobody() -> None:
    with pytest.raises(SvidError):
        verify_svid([_Mesh().leaf()], TrustBundle(_DOMAIN, (), {}), _NOW_S)


def test_another_trust_domain_under_our_root() -> None:
    mesh = _Mesh()
    with pytest.raises(SvidError, match="another trust domain"):
        verify_svid([mesh.leaf(uris=("spiffe://bank.example/a",))], mesh.bundle, _NOW_S)


def test_a_leaf_cannot_sign() -> None:
    mesh = _Mesh()
    key = _key()
    parent = mesh.leaf(key=key)
    child = _certificate("child", _key(), "leaf", key)
    with pytest.raises(SvidError, match="must be a CA"):
        verify_svid([child, parent], mesh.bundle, _NOW_S)


def test_path_length_of_the_root_is_kept() -> None:
    mesh = _Mesh(path_length=0)
    verify_svid([mesh.leaf()], mesh.bundle, _NOW_S)
    with pytest.raises(SvidError):
        verify_svid([mesh.below(), mesh.middle], mesh.bundle, _NOW_S)


@pytest.mark.parametrize(
    ("offset_s", "valid"), [(-61, False), (-60, True), (3600, True), (3601, False)]
)
def test_validity(offset_s: int, valid: bool) -> None:
    mesh = _Mesh(life=timedelta(hours=2))
    leaf = mesh.leaf()
    if valid:
        verify_svid([leaf], mesh.bundle, _NOW_S + offset_s)
        return
    with pytest.raises(SvidError):
        verify_svid([leaf], mesh.bundle, _NOW_S + offset_s)


def test_an_expired_root_vouches_for_nobody() -> None:
    mesh = _Mesh(life=timedelta(minutes=1))
    with pytest.raises(SvidError):
        verify_svid([mesh.leaf()], mesh.bundle, _NOW_S + 120)


def test_weak_keys_and_hashes() -> None:
    mesh = _Mesh()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    koblitz = ec.generate_private_key(ec.SECP256K1())
    for key in (weak, koblitz):
        with pytest.raises(SvidError, match="weak"):
            verify_svid([mesh.leaf(key=key)], mesh.bundle, _NOW_S)
    with pytest.raises(SvidError, match="weak hash"):
        verify_svid([mesh.leaf(digest=hashes.SHA224())], mesh.bundle, _NOW_S)


def _constraint(*, permitted: Any = None, excluded: Any = None) -> dict[str, Any]:
    return {"extra": [(x509.NameConstraints(permitted, excluded), True)]}


_URI, _DNS = x509.UniformResourceIdentifier, x509.DNSName


@pytest.mark.parametrize(
    ("constraint", "valid"),
    [
        (_constraint(permitted=[_URI("shop.example")]), True),
        (_constraint(permitted=[_URI(".example")]), True),
        (_constraint(permitted=[_URI("bank.example")]), False),
        (_constraint(excluded=[_URI("shop.example")]), False),
        (_constraint(excluded=[_URI("bank.example")]), True),
        (_constraint(permitted=[_URI("shop.example"), _DNS("shop.example")]), False),
    ],
)
def test_name_constraints(constraint: dict[str, Any], valid: bool) -> None:
    mesh = _Mesh(**constraint)
    if valid:
        verify_svid([mesh.leaf()], mesh.bundle, _NOW_S)
        return
    with pytest.raises(SvidError):
        verify_svid([mesh.leaf()], mesh.bundle, _NOW_S)


@pytest.mark.parametrize("pem", [b"", b"text", b"a" * 70_000])
def test_not_a_chain(pem: bytes) -> None:
    with pytest.raises(SvidError):
        X509Svid.parse_pem(pem)


def test_chain_length_bound() -> None:
    mesh = _Mesh()
    with pytest.raises(SvidError, match="1 to 8"):
        X509Svid.of_chain([mesh.leaf(), *[mesh.middle] * 8])
    with pytest.raises(SvidError, match="1 to 8"):
        X509Svid.of_chain([])
