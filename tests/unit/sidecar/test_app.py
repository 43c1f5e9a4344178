"""One sidecar as a process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.identity.credentials import save
from tests.support.http_peer import Client, call, encode
from tests.support.identities import Identities, workload
from tests.support.mesh import SERVE, START_S, Sidecar, free_ports, until


class Bench:
    """A configuration with an identity on disk: no authority is needed to open the gates."""

    def __init__(self, identities: Identities, folder: Path) -> None:
        self.folder = folder
        self.sidecar = Sidecar("orders", folder, free_ports(1)[0])
        (folder / "bundle.json").write_text(json.dumps(identities.bundle.document()))
        self.sidecar.run_dir.mkdir(parents=True)
        save(self.sidecar.run_dir, identities.credentials("orders"))
        one = self.sidecar
        self.config: dict[str, Any] = {
            "version": 1,
            "workload": workload("orders").uri,
            "run_dir": str(one.run_dir),
            "authority": {
                "address": f"127.0.0.1:{free_ports(1)[0]}",
                "bundle_file": "bundle.json",
                "join_token_file": "token",
            },
            "inbound": {
                "listen": f"127.0.0.1:{one.inbound}",
                "application": f"127.0.0.1:{one.application}",
            },
            "outbound": {"listen": f"127.0.0.1:{one.outbound}"},
            "telemetry": {
                "metrics_listen": f"127.0.0.1:{one.metrics}",
                "health_listen": f"127.0.0.1:{one.health}",
                "access_log": "none",
                "decision_log": "none",
            },
        }

    def start(self) -> Sidecar:
        self.sidecar.config.write_text(yaml.safe_dump(self.config))
        self.sidecar.start(*SERVE, str(self.sidecar.config))
        return self.sidecar

    async def fails(self) -> str:
        """It ends with 1 and says why: one line, no traceback."""
        sidecar = self.start()
        assert await sidecar.ended() == 1
        lines = [line for line in sidecar.text().splitlines() if " INFO " not in line]
        assert lines[0].startswith("narrowgate: "), lines
        assert "Traceback" not in sidecar.text()
        return "\n".join(lines)


@pytest.fixture
async def bench(identities: Identities, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(identities, tmp_path)
    yield made
    made.sidecar.stop()


@pytest.mark.parametrize("listener", ["health", "metrics", "inbound", "outbound"])
async def test_a_port_in_use(listener: str, bench: Bench) -> None:
    port = getattr(bench.sidecar, listener)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        said = await bench.fails()
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "\n" not in said


def no_bundle(bench: Bench) -> str:
    (bench.folder / "bundle.json").unlink()
    return "cannot read the trust bundle"


def folder_for_bundle(bench: Bench) -> str:
    bench.config["authority"]["bundle_file"] = str(bench.folder)
    return "cannot read the trust bundle"


def broken_bundle(bench: Bench) -> str:
    (bench.folder / "bundle.json").write_bytes(b"\xff{")
    return "is no trust bundle"


def list_for_bundle(bench: Bench) -> str:
    (bench.folder / "bundle.json").write_text("[]")
    return "is no trust bundle"


def file_for_run_folder(bench: Bench) -> str:
    (bench.folder / "file").write_text("")
    bench.config["run_dir"] = str(bench.folder / "file" / "run")
    return "cannot use the run folder"


def folder_for_log(bench: Bench) -> str:
    bench.config["telemetry"]["access_log"] = str(bench.folder)
    return "cannot open a log"


def no_edge_key(bench: Bench) -> str:
    bench.config["edge"] = {
        "listen": f"127.0.0.1:{bench.sidecar.edge}",
        "certificate_file": "edge.pem",
        "key_file": "edge.key",
        "issuers": [{"issuer": "https://idp.example", "audience": "a", "jwks_file": "jwks"}],
    }
    return "the edge's certificate or key cannot be used"


def no_policy(bench: Bench) -> str:
    bench.config["policy"] = {"source": "directory", "directory": str(bench.folder / "none")}
    return "no Rego module is there"


@pytest.mark.parametrize(
    "breaks",
    [
        *(no_bundle, folder_for_bundle, broken_bundle, list_for_bundle, file_for_run_folder),
        *(folder_for_log, no_edge_key, no_policy),
    ],
)
async def test_what_it_cannot_start_with(breaks: Callable[[Bench], str], bench: Bench) -> None:
    expected = breaks(bench)
    said = await bench.fails()
    assert expected in said
    assert "\n" not in said


async def test_sigterm_before_there_is_an_identity(bench: Bench) -> None:
    (bench.sidecar.run_dir / "identity.json").unlink()
    sidecar = bench.start()
    await until(lambda: "cannot read the join token" in sidecar.text(), "it asks for a token")
    assert not await sidecar.is_ready()
    live = await sidecar.get(sidecar.health, "/live")
    assert live is not None
    assert live.status == 200
    assert (await sidecar.get(sidecar.outbound, "/")) is None, "no gate without an identity"
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0


async def test_open_gates_are_sealed_until_every_input_came(bench: Bench) -> None:
    sidecar = bench.start()
    await until(lambda: "gates are open" in sidecar.text(), "the gates open")
    answer = await call(sidecar.outbound, "GET", "/", host="payments")
    assert (answer.status, answer.reason) == (503, "sealed_starting")
    assert not await sidecar.is_ready()
    sidecar.signal(signal.SIGINT)
    assert await sidecar.ended() == 0


async def test_the_run_folder_is_ours_alone(bench: Bench) -> None:
    bench.sidecar.run_dir.chmod(0o755)
    bench.config["telemetry"]["admin_socket"] = "admin.sock"
    sidecar = bench.start()
    await until(lambda: "gates are open" in sidecar.text(), "the gates open")
    assert sidecar.run_dir.stat().st_mode & 0o777 == 0o700
    admin = bench.folder / "admin.sock"
    assert admin.stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(str(admin))
    async with Client(reader, writer) as client:
        status = json.loads((await client.request("GET", "/status")).body)
    assert (status["posture"], status["sealed_reason"]) == ("sealed", "sealed_starting")
    stored = (sidecar.run_dir / "identity.json").read_text()
    assert "PRIVATE" in stored
    assert "PRIVATE" not in json.dumps(status) + sidecar.text()


async def test_a_drain_that_takes_too_long_breaks_off(bench: Bench) -> None:
    """A caller that never finishes its request does not keep the process alive."""
    bench.config["timeouts"] = {"drain_s": 0.5, "head_s": 60}
    sidecar = bench.start()
    await until(lambda: "gates are open" in sidecar.text(), "the gates open")
    async with await Client.open(sidecar.outbound) as client:
        await client.send(encode("GET", "/", host="payments")[:-4])
        sidecar.signal(signal.SIGTERM)
        assert await sidecar.ended() == 0
        await client.closed()
    assert "drain took over 0.5 s" in sidecar.text()


async def test_policy_from_a_folder(bench: Bench) -> None:
    folder = bench.folder / "policy"
    folder.mkdir()
    text = (
        "import rego.v1\n\ndefault allow := false\n\nallow if input.attributes.request.http.path\n"
    )
    (folder / "in.rego").write_text(f"package envoy.authz\n\n{text}")
    (folder / "out.rego").write_text(f"package narrowgate.outbound\n\n{text}")
    bench.config["policy"] = {"source": "directory", "directory": str(folder)}
    sidecar = bench.start()
    await until(lambda: "is in force" in sidecar.text(), "the policy is in force", START_S)
