"""Credentials on their way from the authority to a file and back, and all that is refused."""

from __future__ import annotations

import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sidecar.identity.credentials import FILE, Credentials, CredentialsError, KeyPair, load, save
from tests.support.identities import Identities, pem_of, workload

ME = workload("orders")


def answer_to(identities: Identities, keys: KeyPair, name: str = "orders") -> dict[str, object]:
    return identities.issue(name, keys._key, keys._hop_key)


def again(folder: Path, identities: Identities, now_s: float | None = None) -> Credentials | None:
    return load(folder, ME, identities.bundle, time.time() if now_s is None else now_s)


def test_the_answer_to_our_request(identities: Identities) -> None:
    keys, now_s = KeyPair(), time.time()
    made = keys.credentials(answer_to(identities, keys), ME, identities.bundle, now_s)
    assert made.svid.id == ME
    assert made.obtained_s == made.begun_s == now_s
    assert made.half_life_s == pytest.approx((now_s + made.svid.not_after_s) / 2)
    request = keys.request()
    assert "CERTIFICATE REQUEST" in str(request["csr"])
    assert "d" not in dict(request["hop_key"])  # type: ignore[call-overload]


def test_no_key_is_ever_shown(identities: Identities) -> None:
    made = identities.credentials("orders")
    for shown in (repr(made), str(made), f"{made}"):
        assert "PRIVATE" not in shown
        assert made.key_pem.decode().splitlines()[1] not in shown
        assert made.wit.token not in shown
    assert ME.uri in repr(made)


def test_an_answer_for_somebody_else(identities: Identities, strangers: Identities) -> None:
    keys, other, now_s = KeyPair(), KeyPair(), time.time()
    good = answer_to(identities, keys)
    for answer in (
        {},
        {"svid": good["svid"]},
        {**good, "svid": "no"},
        {**good, "wit": "no"},
        {**good, "svid": answer_to(identities, other)["svid"]},
        {**good, "wit": answer_to(identities, other)["wit"]},
        {**good, "wit": answer_to(identities, keys, "payments")["wit"]},
        answer_to(identities, keys, "payments"),
        strangers.issue("orders", keys._key, keys._hop_key),
    ):
        with pytest.raises(CredentialsError) as info:
            keys.credentials(answer, ME, identities.bundle, now_s)
        assert "PRIVATE" not in str(info.value)
    with pytest.raises(CredentialsError):
        keys.credentials(good, ME, identities.bundle, now_s + 7200)


def test_one_key_for_both_is_refused(identities: Identities) -> None:
    keys = KeyPair()
    keys._hop_key = keys._key
    with pytest.raises(CredentialsError, match="share one key"):
        keys.credentials(answer_to(identities, keys), ME, identities.bundle, time.time())


def test_round_trip(identities: Identities, tmp_path: Path) -> None:
    made = identities.credentials("orders")
    save(tmp_path, made)
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [FILE]
    back = again(tmp_path, identities)
    assert back is not None
    assert (back.svid, back.wit, back.key_pem) == (made.svid, made.wit, made.key_pem)
    assert back.obtained_s == made.obtained_s
    assert pem_of(back.hop_key) == pem_of(made.hop_key)


def test_nothing_stored(identities: Identities, tmp_path: Path) -> None:
    assert again(tmp_path, identities) is None
    assert again(tmp_path / "none", identities) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o601])
def test_a_file_that_others_could_read_is_refused(
    mode: int, identities: Identities, tmp_path: Path
) -> None:
    save(tmp_path, identities.credentials("orders"))
    (tmp_path / FILE).chmod(mode)
    with pytest.raises(CredentialsError, match="open to others"):
        again(tmp_path, identities)


def test_a_torn_file_is_as_none(identities: Identities, tmp_path: Path) -> None:
    save(tmp_path, identities.credentials("orders"))
    path = tmp_path / FILE
    whole = path.read_bytes()
    for end in {0, 1, 100, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:end])
        assert again(tmp_path, identities) is None
    path.write_bytes(whole + b"x" * 70_000)
    assert again(tmp_path, identities) is None


@pytest.mark.parametrize("name", ["svid", "key", "wit", "hop_key", "obtained_s"])
@pytest.mark.parametrize("value", [None, 7, "", "no", [], "1e400"])
def test_a_member_that_is_wrong_is_as_none(
    name: str, value: object, identities: Identities, tmp_path: Path
) -> None:
    save(tmp_path, identities.credentials("orders"))
    path = tmp_path / FILE
    document = json.loads(path.read_text())
    document[name] = value
    path.write_text(json.dumps(document))
    if (name, value) != ("obtained_s", 7):
        assert again(tmp_path, identities) is None
    del document[name]
    path.write_text(json.dumps(document))
    assert (again(tmp_path, identities) is None) == (name != "obtained_s")


def test_another_keys_identity_or_domain_is_as_none(
    identities: Identities, strangers: Identities, tmp_path: Path
) -> None:
    made, other = identities.credentials("orders"), identities.credentials("orders")
    for wrong in (
        identities.credentials("payments"),
        strangers.credentials("orders"),
        replace(made, key_pem=other.key_pem),
        replace(made, hop_key=other.hop_key),
        replace(made, wit=other.wit),
        replace(made, hop_key=ec.generate_private_key(ec.SECP384R1())),
    ):
        save(tmp_path, wrong)
        assert again(tmp_path, identities) is None


def test_what_expired_is_as_none(identities: Identities, tmp_path: Path) -> None:
    made = identities.credentials("orders", lifetime_s=30)
    save(tmp_path, made)
    assert again(tmp_path, identities, made.svid.not_after_s - 1) is not None
    assert again(tmp_path, identities, made.svid.not_after_s) is None


def test_a_full_disk_leaves_the_old_file(identities: Identities, tmp_path: Path) -> None:
    made, newer = identities.credentials("orders"), identities.credentials("orders")
    save(tmp_path, made)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError):
            save(tmp_path, newer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    back = again(tmp_path, identities)
    assert back is not None
    assert back.svid == made.svid
    assert os.listdir(tmp_path) == [FILE]


def test_a_folder_that_is_none(identities: Identities, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        save(tmp_path / "file", identities.credentials("orders"))
    with pytest.raises(CredentialsError, match="cannot read"):
        again(tmp_path / "file", identities)
