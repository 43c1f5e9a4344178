"""Keys at rest: closed to others or encrypted, or a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import cli, keys
from ca.authority import make_root
from ca.keys import KeyStoreError, Secrets
from ca.spiffe.ids import TrustDomain

_PASSPHRASE = b"correct horse battery"


def _made(state: Path, passphrase: bytes | None = None) -> Secrets:
    secrets = Secrets.generate()
    keys.prepare_directory(state)
    root = make_root(TrustDomain.parse("shop.example"), secrets.root_key)
    keys.save(state, secrets, root, passphrase)
    return secrets


@pytest.mark.parametrize("passphrase", [None, _PASSPHRASE])
def test_round_trip(tmp_path: Path, passphrase: bytes | None) -> None:
    state = tmp_path / "ca"
    made = _made(state, passphrase)
    read = keys.load_secrets(state, passphrase)
    assert read.root_key.private_numbers() == made.root_key.private_numbers()
    assert read.pseudonym_secret() == made.pseudonym_secret()
    assert len(read.pseudonym_secret()) == 32
    assert state.stat().st_mode & 0o777 == 0o700
    for path in state.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert passphrase is None or b"BEGIN PRIVATE KEY" not in path.read_bytes()


def test_the_three_keys_differ_and_hide(tmp_path: Path) -> None:
    made = _made(tmp_path / "ca")
    numbers = {
        key.private_numbers().private_value
        for key in (made.root_key, made.jwt_key, made.pseudonym_key)
    }
    assert len(numbers) == 3
    assert repr(made) == "Secrets()"


@pytest.mark.parametrize("name", [keys.ROOT_KEY, keys.JWT_KEY, keys.PSEUDONYM_KEY])
def test_an_open_key_file_is_refused(tmp_path: Path, name: str) -> None:
    state = tmp_path / "ca"
    _made(state)
    (state / name).chmod(0o640)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        keys.load_secrets(state, None)


def test_an_open_directory_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "ca"
    _made(state)
    state.chmod(0o750)
    with pytest.raises(KeyStoreError, match="chmod 700"):
        keys.load_secrets(state, None)
    with pytest.raises(KeyStoreError, match="chmod 700"):
        keys.load_public(state)


def test_passphrase_mistakes(tmp_path: Path) -> None:
    state, plain = tmp_path / "ca", tmp_path / "plain"
    _made(state, _PASSPHRASE)
    _made(plain)
    with pytest.raises(KeyStoreError, match="--passphrase-file"):
        keys.load_secrets(state, None)
    with pytest.raises(KeyStoreError, match="passphrase is wrong") as caught:
        keys.load_secrets(state, b"another passphrase")
    assert "another" not in str(caught.value)
    with pytest.raises(KeyStoreError, match="not encrypted"):
        keys.load_secrets(plain, _PASSPHRASE)


def test_passphrase_files(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(_PASSPHRASE + b"\r\nsecond line\n")
    path.chmod(0o600)
    assert keys.read_passphrase(path) == _PASSPHRASE
    assert keys.read_passphrase(None) is None
    path.chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        keys.read_passphrase(path)
    path.chmod(0o600)
    path.write_bytes(b"short\n")
    with pytest.raises(KeyStoreError, match="too short"):
        keys.read_passphrase(path)
    with pytest.raises(KeyStoreError, match="cannot read"):
        keys.read_passphrase(tmp_path / "absent")
    with pytest.raises(KeyStoreError):
        keys.read_passphrase(tmp_path)


def test_mixed_up_keys(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _made(one)
    _made(two)
    for name in (keys.ROOT_KEY, keys.JWT_KEY):
        kept = (one / name).read_bytes()
        (one / name).write_bytes((two / name).read_bytes())
        with pytest.raises(KeyStoreError, match="not a pair"):
            keys.load_secrets(one, None)
        (one / name).write_bytes(kept)


def test_damaged_and_foreign_keys(tmp_path: Path) -> None:
    state = tmp_path / "ca"
    _made(state)
    curve = ec.generate_private_key(ec.SECP384R1())
    foreign = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, text in ((b"junk", "damaged"), (foreign, "not an EC P-256")):
        (state / keys.ROOT_KEY).write_bytes(content)
        with pytest.raises(KeyStoreError, match=text):
            keys.load_secrets(state, None)
    (state / keys.ROOT_CERTIFICATE).write_bytes(b"junk")
    with pytest.raises(KeyStoreError, match="damaged"):
        keys.load_public(state)
    (state / keys.ROOT_CERTIFICATE).unlink()
    with pytest.raises(KeyStoreError, match="cannot read"):
        keys.load_public(state)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    state = tmp_path / "ca"
    made = _made(state)
    root = keys.load_public(state).root
    with pytest.raises(KeyStoreError, match="exists"):
        keys.save(state, made, root, None)


def test_places_that_cannot_be_a_state_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyStoreError):
        keys.prepare_directory(tmp_path / "file")
    with pytest.raises(KeyStoreError):
        keys.prepare_directory(Path("/proc/narrowgate"))
    with pytest.raises(KeyStoreError, match="ca init"):
        keys.check_directory(tmp_path / "absent")
    with pytest.raises(KeyStoreError, match="not a directory"):
        keys.check_directory(tmp_path / "file")


def test_an_encrypted_authority_by_the_command(tmp_path: Path) -> None:
    state, file = tmp_path / "ca", tmp_path / "passphrase"
    file.write_bytes(_PASSPHRASE)
    file.chmod(0o600)
    init = ["ca", "init", "--state", str(state), "--trust-domain", "shop.example"]
    assert cli.main([*init, "--passphrase-file", str(file)]) == 0
    assert b"ENCRYPTED" in (state / keys.ROOT_KEY).read_bytes()
    assert cli.main(["ca", "bundle", "--state", str(state)]) == 0  # needs no passphrase
