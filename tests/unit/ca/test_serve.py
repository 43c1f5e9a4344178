"""The process: ready line, SIGTERM, a port or socket in use, a full disk, a broken state."""

from __future__ import annotations

import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ca import serve as serve_module
from ca.serve import Options, ServeError, Server, bind_tcp, bind_unix

_ROOT = Path(serve_module.__file__).parents[1]


def _start(state: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ca.cli", "ca", "serve", "--state", str(state), *arguments]
    return subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def process(state: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    started = _start(state, "--listen", "127.0.0.1:0", "--socket", str(tmp_path / "s"))
    assert started.stdout is not None
    line = started.stdout.readline()
    yield started, json.loads(line)
    if started.poll() is None:
        started.kill()
    started.communicate()


def test_ready_line_and_clean_end(process: Any, tmp_path: Path) -> None:
    started, ready = process
    assert ready["ready"] is True and ready["trust_domain"] == "shop.example"
    assert ready["socket"] == str(tmp_path / "s") and (tmp_path / "s").is_socket()
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=30)
    assert started.returncode == 0 and out == "" and "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_port_in_use_is_one_line(process: Any, state: Path) -> None:
    second = _start(state, "--listen", process[1]["address"])
    out, err = second.communicate(timeout=30)
    assert second.returncode == 1 and out == ""
    assert err.count("\n") == 1 and "port is in use" in err


def test_socket_in_use_is_one_line(process: Any, state: Path) -> None:
    second = _start(state, "--listen", "127.0.0.1:0", "--socket", process[1]["socket"])
    _, err = second.communicate(timeout=30)
    assert second.returncode == 1
    assert err.count("\n") == 1 and "another process listens" in err
    assert Path(process[1]["socket"]).is_socket()


def _post(address: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"https://{address}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, context=context) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_full_disk_refuses_issuing_and_recovers(
    process: Any, state: Path, make_keys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from ca import cli

    started, ready = process
    name = "spiffe://shop.example/ns/shop/sa/orders"
    assert cli.main(["ca", "token", "create", "--state", str(state), "--id", name]) == 0
    keys = make_keys()
    body = {
        "attestor": "join_token",
        "evidence": {"token": capsys.readouterr().out.strip()},
        "csr": keys.csr(),
        "hop_key": keys.jwk(),
    }
    before = resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    status, problem = _post(ready["address"], "/v1/attest", body)
    assert (status, problem["reason"]) == (503, "store_unavailable")
    resource.prlimit(started.pid, resource.RLIMIT_FSIZE, before)
    assert _post(ready["address"], "/v1/attest", body)[0] == 200  # the token was not lost
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=30)
    assert started.returncode == 0 and "disk" in err and "ngj_" not in err


@pytest.mark.parametrize("damage", ["missing", "garbage", "truncated", "newer", "empty"])
def test_a_damaged_store_is_one_line(state: Path, damage: str) -> None:
    import sqlite3

    store = state / "store.sqlite"
    match damage:
        case "missing":
            store.unlink()
        case "garbage":
            store.write_bytes(b"not a database " * 1000)
        case "truncated":
            store.write_bytes(store.read_bytes()[:8192])
        case "newer":
            connection = sqlite3.connect(store)
            connection.execute("PRAGMA user_version = 99")
            connection.close()
        case "empty":
            store.write_bytes(b"")
    started = _start(state, "--listen", "127.0.0.1:0")
    out, err = started.communicate(timeout=30)
    assert started.returncode == 1 and out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    assert any(word in err for word in ("restore", "init", "upgrade"))


@pytest.mark.parametrize("listen", ["17010", "127.0.0.1:", "127.0.0.1:70000", "host:x", ":1"])
def test_bad_listen(listen: str) -> None:
    with pytest.raises(ServeError, match="--listen"):
        bind_tcp(listen)


def test_bind_ipv6_and_an_address_that_is_not_ours() -> None:
    with bind_tcp("[::1]:0") as bound:
        assert bound.family == socket.AF_INET6
    with pytest.raises(ServeError):
        bind_tcp("192.0.2.1:0")


def test_stale_sockets_are_replaced_and_files_are_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind_unix(path).close()
    with bind_unix(path):
        assert path.stat().st_mode & 0o777 == 0o666
    path.unlink()
    path.write_text("mine")
    with pytest.raises(ServeError, match="another kind"):
        bind_unix(path)
    with pytest.raises(ServeError):
        bind_unix(tmp_path / "no" / "s")


@pytest.mark.parametrize(
    "how", [{"svid_lifetime_s": 1}, {"svid_lifetime_s": 90_000}, {"heartbeat_s": 0}]
)
def test_options_are_bounded(state: Path, how: dict[str, Any]) -> None:
    with pytest.raises(ServeError):
        Server(Options(state, **how))
