"""The authority's secrets at rest: root key, JWT signing key and pseudonym key, each its own.

Invariants: a secret is read only from a directory that is ours and closed to everybody else (0700),
from a file that is ours and closed (0600), or encrypted with a passphrase; anything looser is
refused with the command that repairs it. Key bytes never reach a log, a repr or an exception.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

ROOT_KEY: Final = "root.key"
ROOT_CERTIFICATE: Final = "root.pem"
JWT_KEY: Final = "jwt.key"
JWT_PUBLIC: Final = "jwt.pub.pem"
PSEUDONYM_KEY: Final = "pseudonym.key"
_FILE_BYTES_MAX: Final = 64 * 1024
_PASSPHRASE_CHARS_MIN: Final = 12
_PSEUDONYM_BYTES: Final = 32


class KeyStoreError(Exception):
    """The secrets cannot be used as they are; the text says what to do next."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The private keys; nothing of them is in the repr."""

    root_key: ec.EllipticCurvePrivateKey = field(repr=False)
    jwt_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pseudonym_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Secrets:
        """Make three fresh EC P-256 keys."""
        return cls(*(ec.generate_private_key(ec.SECP256R1()) for _ in range(3)))

    def pseudonym_secret(self) -> bytes:
        """Return the 32 bytes from which edges derive pseudonymous subjects (HKDF, RFC 5869)."""
        scalar = self.pseudonym_key.private_numbers().private_value.to_bytes(32, "big")
        info = b"narrowgate pseudonyms v1"
        return HKDF(hashes.SHA256(), _PSEUDONYM_BYTES, None, info).derive(scalar)


@dataclass(frozen=True, slots=True)
class PublicParts:
    """What every reader may know: the root certificate and the JWT verification key."""

    root: x509.Certificate
    jwt_key: ec.EllipticCurvePublicKey


def prepare_directory(state: Path) -> None:
    """Make `state` (0700) or check that it is ours and closed; raise `KeyStoreError`."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyStoreError(f"cannot make {state}: {error.strerror}") from error
    check_directory(state)


def check_directory(state: Path) -> None:
    """Refuse a state directory that others may enter or that is not ours."""
    try:
        status = state.stat()
    except OSError as error:
        raise KeyStoreError(
            f"no authority state in {state}: run `narrowgate ca init --state {state} "
            "--trust-domain NAME` first"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise KeyStoreError(f"{state} is not a directory")
    if status.st_uid != os.geteuid():
        raise KeyStoreError(
            f"{state} belongs to uid {status.st_uid}, we run as uid {os.geteuid()}: "
            "run as its owner or change the owner"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyStoreError(f"{state} is open to other users: run `chmod 700 {state}`")


def read_passphrase(path: Path | None) -> bytes | None:
    """Read the first line of a passphrase file that others cannot read; None without a file."""
    if path is None:
        return None
    data = _read(path, private=True)
    passphrase = data.split(b"\n", 1)[0].rstrip(b"\r")
    if len(passphrase) < _PASSPHRASE_CHARS_MIN:
        raise KeyStoreError(
            f"the passphrase in {path} is too short: use at least {_PASSPHRASE_CHARS_MIN} bytes"
        )
    return passphrase


def save(state: Path, secrets: Secrets, root: x509.Certificate, passphrase: bytes | None) -> None:
    """Write all files into a prepared directory; refuse to overwrite any."""
    for name in (ROOT_KEY, JWT_KEY, PSEUDONYM_KEY, ROOT_CERTIFICATE, JWT_PUBLIC):
        if (state / name).exists():
            raise KeyStoreError(f"{state / name} exists: choose an empty --state directory")
    for name, key in (
        (ROOT_KEY, secrets.root_key),
        (JWT_KEY, secrets.jwt_key),
        (PSEUDONYM_KEY, secrets.pseudonym_key),
    ):
        _write(state / name, _private_pem(key, passphrase))
    _write(state / ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM))
    public = secrets.jwt_key.public_key()
    _write(
        state / JWT_PUBLIC,
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def load_secrets(state: Path, passphrase: bytes | None) -> Secrets:
    """Read the private keys and check that they belong to the public parts."""
    check_directory(state)
    secrets = Secrets(
        *(_private(state / name, passphrase) for name in (ROOT_KEY, JWT_KEY, PSEUDONYM_KEY))
    )
    public = load_public(state)
    if secrets.root_key.public_key() != public.root.public_key():
        raise KeyStoreError(f"{ROOT_KEY} and {ROOT_CERTIFICATE} in {state} are not a pair")
    if secrets.jwt_key.public_key() != public.jwt_key:
        raise KeyStoreError(f"{JWT_KEY} and {JWT_PUBLIC} in {state} are not a pair")
    return secrets


def load_public(state: Path) -> PublicParts:
    """Read the public parts; no passphrase is needed."""
    check_directory(state)
    try:
        root = x509.load_pem_x509_certificate(_read(state / ROOT_CERTIFICATE, private=False))
        key = load_pem_public_key(_read(state / JWT_PUBLIC, private=False))
    except ValueError as error:
        raise KeyStoreError(
            f"{ROOT_CERTIFICATE} or {JWT_PUBLIC} in {state} is damaged: restore it from a backup"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyStoreError(f"{JWT_PUBLIC} in {state} is not an EC key")
    return PublicParts(root, key)


def _private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _private(path: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    data = _read(path, private=True)
    encrypted = b"ENCRYPTED PRIVATE KEY" in data
    if encrypted and passphrase is None:
        raise KeyStoreError(f"{path} is encrypted: give --passphrase-file FILE")
    if passphrase is not None and not encrypted:
        raise KeyStoreError(
            f"{path} is not encrypted although a passphrase was given: "
            "check --state, or leave --passphrase-file out"
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except ValueError as error:
        hint = "the passphrase is wrong or the file is damaged" if encrypted else "it is damaged"
        raise KeyStoreError(f"cannot read {path}: {hint}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise KeyStoreError(f"{path} is not an EC P-256 key")
    return key


def _read(path: Path, *, private: bool) -> bytes:
    try:
        # O_NONBLOCK: a pipe in place of the file must not make us wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyStoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        _check_file(path, os.fstat(descriptor), private=private)
        return os.read(descriptor, _FILE_BYTES_MAX)
    except OSError as error:
        raise KeyStoreError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _check_file(path: Path, status: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyStoreError(f"{path} is not a regular file")
    if private and stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyStoreError(f"{path} is open to other users: run `chmod 600 {path}`")
    if private and status.st_uid not in (os.geteuid(), 0):
        raise KeyStoreError(f"{path} belongs to uid {status.st_uid}, not to us")


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise KeyStoreError(f"cannot write {path}: {error.strerror}") from error
