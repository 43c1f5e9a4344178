"""Unix attestation with real kernel credentials."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ca.attest import PeerProcess
from ca.attest.unix import UnixAttestor, peer_process
from ca.refusal import Reason, Refused

_A = "spiffe://shop.example/a"
_B = "spiffe://shop.example/b"
_PEER = PeerProcess(1, 1000, 2000)


def test_the_kernel_names_the_peer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        client.connect(str(tmp_path / "s"))
        accepted, _ = listener.accept()
        with accepted:
            assert peer_process(accepted) == (os.getpid(), os.getuid(), os.getgid())


def test_no_peer_on_other_sockets() -> None:
    with socket.socket(socket.AF_INET) as tcp:
        assert peer_process(tcp) is None
    assert peer_process(None) is None


def _attest(world: Any, peer: PeerProcess | None, evidence: Any = None) -> list[str]:
    with world.store.snapshot() as rows:
        return [one.uri for one in UnixAttestor().attest(rows, evidence or {}, peer, 0.0)]


def test_every_selector_must_hold(world: Any) -> None:
    world.add(_A, selectors=("unix:uid:1000",))
    world.add(_B, selectors=("unix:uid:1000", "unix:gid:2001"))
    assert _attest(world, _PEER) == [_A]
    assert _attest(world, PeerProcess(1, 1000, 2001)) == [_A, _B]


def test_an_entry_without_selectors_fits_nobody(world: Any) -> None:
    with pytest.raises(Refused, match="no entry fits") as caught:
        _attest(world, _PEER)
    assert caught.value.reason is Reason.ATTESTATION


def test_no_credentials_and_no_claims(world: Any) -> None:
    world.add(_A, selectors=("unix:uid:1000",))
    with pytest.raises(Refused, match="unix socket only"):
        _attest(world, None)
    with pytest.raises(Refused) as caught:
        _attest(world, _PEER, {"uid": 0})
    assert caught.value.reason is Reason.MALFORMED
