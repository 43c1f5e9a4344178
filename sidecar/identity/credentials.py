"""The gate's own credentials: SVID, WIT and their two keys, and how they outlive the process.

Invariants: the two keys differ, belong to the gate alone, and are never shown; a file of
credentials is 0600 in a 0700 folder and is replaced atomically, so a crash leaves the old or the
new one, never half of one.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Final

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import ec_jwk
from ca.spiffe.svid import X509Svid, verify_svid
from ca.spiffe.wit import Wit, verify_wit

FILE: Final = "identity.json"
FILE_BYTES_MAX: Final = 65_536
_GROUP_OR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class CredentialsError(Exception):
    """Credentials that cannot be used; the text says why, and holds nothing secret."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One generation of the gate's identity."""

    svid: X509Svid
    wit: Wit
    svid_pem: bytes
    key_pem: bytes
    hop_key: ec.EllipticCurvePrivateKey
    obtained_s: float

    def __repr__(self) -> str:
        """Name the identity, never a key."""
        return f"<Credentials {self.svid.id} serial {self.svid.serial:x}>"

    @property
    def begun_s(self) -> float:
        """When its life began for us; authorities date certificates back."""
        return max(self.svid.not_before_s, self.obtained_s)

    @property
    def half_life_s(self) -> float:
        """The instant at which half of the SVID's life is over."""
        return (self.begun_s + self.svid.not_after_s) / 2


class KeyPair:
    """Fresh keys and the request that asks the authority to certify them."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._hop_key = ec.generate_private_key(ec.SECP256R1())

    def request(self) -> dict[str, object]:
        """`csr` (PEM) and `hop_key` (JWK), as `/v1/attest` and `/v1/renew` take them."""
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(self._key, hashes.SHA256())
        )
        pem = csr.public_bytes(serialization.Encoding.PEM).decode()
        return {"csr": pem, "hop_key": ec_jwk(self._hop_key.public_key())}

    def credentials(
        self, answer: dict[str, object], expected: SpiffeId, bundle: TrustBundle, now_s: float
    ) -> Credentials:
        """Check the authority's answer against our keys, our name and the trust bundle.

        Raises:
            CredentialsError: anything about it does not fit.
        """
        match answer:
            case {"svid": str(svid_pem), "wit": str(wit)}:
                pass
            case _:
                raise CredentialsError("the authority's answer lacks the SVID or the WIT")
        key_pem = _pem(self._key)
        made = _checked(svid_pem.encode(), key_pem, wit, self._hop_key, bundle, now_s)
        if made.svid.id != expected:
            raise CredentialsError(
                f"the authority certified {made.svid.id}, but the configuration says {expected}; "
                "correct `workload` or the registration entry"
            )
        return replace(made, obtained_s=now_s)


def save(folder: Path, credentials: Credentials) -> None:
    """Replace the stored credentials.

    Raises:
        OSError: the folder cannot be written (the old file is then untouched).
    """
    document = {
        "svid": credentials.svid_pem.decode(),
        "key": credentials.key_pem.decode(),
        "wit": credentials.wit.token,
        "hop_key": _pem(credentials.hop_key).decode(),
        "obtained_s": credentials.obtained_s,
    }
    path = folder / FILE
    fresh = folder / f".{FILE}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def load(folder: Path, expected: SpiffeId, bundle: TrustBundle, now_s: float) -> Credentials | None:
    """The stored credentials, or None when there are none that are still good for us.

    Raises:
        CredentialsError: the file is readable by others: its keys may be known to them.
    """
    path = folder / FILE
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {error.strerror}; check its owner") from None
    if mode & _GROUP_OR_OTHERS:
        raise CredentialsError(f"{path} is open to others; remove it and attest again")
    if len(data) > FILE_BYTES_MAX:
        return None
    try:
        document = orjson.loads(data)
        svid, key, wit, hop = (document[name] for name in ("svid", "key", "wit", "hop_key"))
        hop_key = serialization.load_pem_private_key(hop.encode(), None)
        if not isinstance(hop_key, ec.EllipticCurvePrivateKey):
            return None
        made = _checked(svid.encode(), key.encode(), wit, hop_key, bundle, now_s)
        obtained_s = float(document.get("obtained_s", made.svid.not_before_s))
    except (
        *(ValueError, KeyError, TypeError, AttributeError),
        *(CredentialsError, UnsupportedAlgorithm),
    ):
        return None  # expired, of another root, or torn: the gate attests anew
    if made.svid.id != expected or not isfinite(obtained_s):
        return None
    return replace(made, obtained_s=min(obtained_s, now_s))


def _checked(
    svid_pem: bytes,
    key_pem: bytes,
    wit: str,
    hop_key: ec.EllipticCurvePrivateKey,
    bundle: TrustBundle,
    now_s: float,
) -> Credentials:
    try:
        parsed = X509Svid.parse_pem(svid_pem)
        svid = verify_svid(parsed.chain, bundle, now_s)
        known = verify_wit(wit, bundle, now_s)
        key = serialization.load_pem_private_key(key_pem, None)
    except ValueError as error:
        raise CredentialsError(f"the credentials do not verify: {error}") from None
    if known.id != svid.id:
        raise CredentialsError("SVID and WIT name different workloads")
    if svid.chain[0].public_key() != key.public_key():
        raise CredentialsError("the SVID is not for our key")
    if known.key != hop_key.public_key():
        raise CredentialsError("the WIT is not for our hop key")
    if known.key == key.public_key():
        raise CredentialsError("the SVID and the WIT share one key")
    return Credentials(svid, known, svid_pem, key_pem, hop_key, svid.not_before_s)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
