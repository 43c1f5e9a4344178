"""A mesh of real processes: `narrowgate ca serve`, `narrowgate run`, on free loopback ports.

Everything waits for readiness (a condition, polled), never for a length of time. Only processes
that were started here are ended, by their pid.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml

from ca import cli
from tests.support.http_peer import Message, call

ROOT: Final = Path(__file__).resolve().parents[2]
DOMAIN: Final = "shop.example"
POLL_S: Final = 0.02
START_S: Final = 40.0
SERVE: Final = ("-m", "sidecar", "run", "--config")

ALLOW_ALL: Final = """\
package envoy.authz

import rego.v1

default allow := false

allow if input.attributes.request.http.method
"""
HAND_ON_ALL: Final = """\
package narrowgate.outbound

import rego.v1

default allow := false

allow := {"allowed": true, "narrowgate": {"scope": input.narrowgate.token.scope}} if {
	input.narrowgate.token
}

allow := {"allowed": true} if not input.narrowgate.token
"""


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def spiffe_id(name: str) -> str:
    return f"spiffe://{DOMAIN}/ns/shop/sa/{name}"


async def until(condition: Callable[[], object], what: str, within_s: float = START_S) -> None:
    """Wait for a condition outside this event loop (a file, a process)."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, f"not in {within_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


class Child:
    """A process of ours, its output in a file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, within_s: float = START_S) -> int:
        process = self.process
        assert process is not None
        await until(lambda: process.poll() is not None, f"{self.name} ends", within_s)
        return int(process.returncode)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not heed it; reaped."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in tasks.read_text().split()]

    def peak_rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def reset_peak_rss(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


class Sidecar(Child):
    """The sidecar of one workload and where it listens."""

    def __init__(self, name: str, folder: Path, application: int) -> None:
        super().__init__(name, folder / f"{name}.log")
        self.folder = folder
        self.application = application
        ports = free_ports(5)
        self.inbound, self.outbound, self.edge, self.metrics, self.health = ports
        self.config = folder / f"{name}.yaml"
        self.run_dir = folder / "run" / name

    @property
    def id(self) -> str:
        return spiffe_id(self.name)

    async def get(self, port: int, path: str) -> Message | None:
        try:
            return await call(port, "GET", path)
        except (OSError, asyncio.IncompleteReadError):
            return None

    async def is_ready(self) -> bool:
        answer = await self.get(self.health, "/ready")
        return answer is not None and answer.status == 200

    async def ready(self, expected: bool = True) -> None:
        end_s = time.monotonic() + START_S
        while await self.is_ready() != expected:
            process = self.process
            assert process is not None
            assert process.poll() is None, f"{self.name} ended: {self.text()[-2000:]}"
            assert time.monotonic() < end_s, f"{self.name} not ready: {self.text()[-2000:]}"
            await asyncio.sleep(POLL_S)

    def identity(self) -> dict[str, Any]:
        """What the sidecar stored: a test that holds it is that workload."""
        stored: dict[str, Any] = json.loads((self.run_dir / "identity.json").read_text())
        return stored

    def records(self, log: str) -> list[dict[str, Any]]:
        """The whole lines of `access` or `decision`."""
        path = self.folder / f"{self.name}.{log}.log"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]


class Mesh:
    """An authority and its sidecars. Call `close()` at the end."""

    def __init__(self, folder: Path, *, heartbeat_s: float = 0.5, policy: str = ALLOW_ALL) -> None:
        self.folder = folder
        self._heartbeat_s = heartbeat_s
        self.state = folder / "ca"
        self.authority = Child("authority", folder / "authority.log")
        (self.authority_port,) = free_ports(1)
        self.socket = folder / "authority.sock"
        self.sidecars: list[Sidecar] = []
        self.ca("init", "--trust-domain", DOMAIN)
        self.bundle_file = folder / "bundle.json"
        self.bundle_file.write_text(self.ca("bundle"))
        self.set_policy(policy)

    def close(self) -> None:
        for child in [*self.sidecars, self.authority]:
            child.stop()

    # The authority

    def ca(self, *arguments: str) -> str:
        """Run `narrowgate ca ...` on the state; verbs that only write need no process."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.main(["ca", *arguments, "--state", str(self.state)])
        assert code == 0, err.getvalue()
        return out.getvalue()

    def set_policy(self, inbound: str, outbound: str = HAND_ON_ALL) -> None:
        folder = self.folder / "policy"
        folder.mkdir(exist_ok=True)
        (folder / "inbound.rego").write_text(inbound)
        (folder / "outbound.rego").write_text(outbound)
        self.ca("policy", "set", str(folder))

    async def start_authority(self) -> None:
        offset = self.authority.text().count('"ready"')
        serve = ["ca", "serve", "--state", str(self.state), "--socket", str(self.socket)]
        serve += ["--listen", f"127.0.0.1:{self.authority_port}"]
        self.authority.start("-m", "sidecar", *serve, "--heartbeat-s", str(self._heartbeat_s))
        await until(lambda: self.authority.text().count('"ready"') > offset, "the authority")

    # Sidecars

    def register(self, name: str, *arguments: str) -> None:
        self.ca("entry", "create", "--id", spiffe_id(name), *arguments)

    def token(self, name: str) -> Path:
        path = self.folder / f"{name}.token"
        path.touch(mode=0o600)
        path.write_text(self.ca("token", "create", "--id", spiffe_id(name)).strip())
        return path

    def add(
        self,
        name: str,
        application: int,
        *,
        hosts: tuple[str, ...] = (),
        svid_lifetime_s: int | None = None,
        entry: tuple[str, ...] = (),
        **sections: Any,
    ) -> Sidecar:
        """Register a workload and write its configuration; `sections` are merged over it."""
        sidecar = Sidecar(name, self.folder, application)
        members = ["--endpoint", f"127.0.0.1:{sidecar.inbound}", *entry]
        for host in (name, *hosts):
            members += ["--host", host]
        if svid_lifetime_s is not None:
            members += ["--svid-lifetime-s", str(svid_lifetime_s)]
        self.register(name, *members)
        token = self.token(name)
        config: dict[str, Any] = {
            "version": 1,
            "workload": sidecar.id,
            "run_dir": str(sidecar.run_dir),
            "authority": {
                "address": f"127.0.0.1:{self.authority_port}",
                "bundle_file": str(self.bundle_file),
                "attestor": "join_token",
                "join_token_file": str(token),
            },
            "inbound": {
                "listen": f"127.0.0.1:{sidecar.inbound}",
                "application": f"127.0.0.1:{application}",
                "routes": [{"path": "/", "grant": "optional"}],
            },
            "outbound": {"listen": f"127.0.0.1:{sidecar.outbound}"},
            "telemetry": {
                "metrics_listen": f"127.0.0.1:{sidecar.metrics}",
                "health_listen": f"127.0.0.1:{sidecar.health}",
                "access_log": f"{name}.access.log",
                "decision_log": f"{name}.decision.log",
            },
        }
        for section, members in sections.items():
            if isinstance(members, dict):
                config[section] = {**config.get(section, {}), **members}
            else:
                config[section] = members
        sidecar.config.write_text(yaml.safe_dump(config))
        self.sidecars.append(sidecar)
        return sidecar

    async def start(self, *sidecars: Sidecar) -> None:
        for sidecar in sidecars:
            sidecar.start(*SERVE, str(sidecar.config))
        for sidecar in sidecars:
            await sidecar.ready()

    def client_tls(self, sidecar: Sidecar) -> ssl.SSLContext:
        """mTLS under the identity that `sidecar` has now."""
        stored = sidecar.identity()
        cert, ca = self.folder / f"{sidecar.name}.pem", self.folder / "root.pem"
        cert.write_text(stored["key"] + stored["svid"])
        ca.write_text(self.root_pem())
        context = ssl.create_default_context(cafile=str(ca))
        context.check_hostname = False
        context.load_cert_chain(cert)
        return context

    def root_pem(self) -> str:
        keys = json.loads(self.bundle_file.read_text())["keys"]
        (der,) = next(key["x5c"] for key in keys if key["use"] == "x509-svid")
        return f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"
