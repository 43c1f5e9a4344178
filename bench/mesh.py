"""Narrowgate at its whole job: an authority, two sidecars, policy, a live grant, metrics and log.

The load needs a grant, as a real application has one: a client sends an access token to the
frontend's edge, the edge mints a transaction token, the holder keeps that request open, and every
request of the load names its handle. So each of them is correlated, decided at the outbound gate,
given a narrowed hop, sent over mutual TLS, verified, and decided again at the inbound gate.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench import app
from bench.certs import AUDIENCE, ISSUER, LIFETIME_S, SCOPE, TRUST_DOMAIN, spiffe_id
from bench.enrol import enrol
from bench.fleet import Fleet, answers
from bench.load import Target
from bench.verify import Caller, ask, expect

AUTHORITY: Final = 17010
FRONTEND_OUT: Final = 17101
PAYMENTS_IN: Final = 17206
EDGE: Final = 18443
HOLDER: Final = 18101
AUTHORITY_ROLE: Final = "narrowgate-authority"
SIDECARS: Final = ("narrowgate-out", "narrowgate-in")

_ROOT: Final = Path(__file__).resolve().parent.parent
_POLICY: Final = Path(__file__).with_name("policy")
_COMMAND: Final = (os.environ.get("BENCH_PYTHON", sys.executable), "-m", "sidecar")
_HOLD_S: Final = LIFETIME_S
_REFUSED: Final = (401, 403)


@dataclass(frozen=True)
class Mesh:
    """A running mesh: where it takes load, and the files to knock at its gates with."""

    target: Target
    home: Path
    certs: Path

    def check(self) -> list[str]:
        """Whether the mesh lets through exactly what it must.

        Raises:
            VerifyError: it does not.
        """
        handle = {"x-request-id": self.target.request_id}
        port = self.target.port
        bundle = self.home / "bundle.pem"
        rogue = Caller(bundle, self.home / "rogue.pem")
        stranger = Caller(bundle, self.certs / "stranger.pem")
        web = Caller(self.certs / "web.pem")
        forged = {"Authorization": f"Bearer {(self.certs / 'forged.jwt').read_text()}"}
        return [
            expect("narrowgate passes a request", ask(port, headers=handle), 200),
            expect("no handle, no grant", ask(port), *_REFUSED),
            expect("a made-up handle", ask(port, headers={"x-request-id": "0" * 32}), *_REFUSED),
            expect("another method", ask(port, method="DELETE", headers=handle), 403),
            expect("another path", ask(port, path="/admin", headers=handle), 403),
            expect("a stranger's certificate", ask(PAYMENTS_IN, caller=stranger)),
            expect("no certificate", ask(PAYMENTS_IN, caller=Caller(bundle))),
            expect("a member without a grant", ask(PAYMENTS_IN, caller=rogue), *_REFUSED),
            expect("the edge without a token", _edge(web, {}), *_REFUSED),
            expect("the edge with a forged token", _edge(web, forged), *_REFUSED),
        ]


def start(fleet: Fleet, home: Path, certs: Path) -> Mesh:
    """Set the mesh up and leave one request held.

    Raises:
        FleetError: a process did not become ready.
        subprocess.CalledProcessError: a command of the authority failed.
    """
    home.mkdir()
    _authority(fleet, home)
    for role, account, config in (
        (SIDECARS[0], "frontend", _frontend(certs)),
        (SIDECARS[1], "payments", _payments()),
    ):
        _sidecar(fleet, home, role, account, config)
    enrol(home, AUTHORITY, _token(home, "rogue"), home / "rogue.pem")
    fleet.start("holder", [sys.executable, "-m", "bench.holder", str(HOLDER)], cwd=_ROOT)
    fleet.line("holder")
    fleet.keep(_hold(certs))
    handle = json.loads(fleet.line("holder", 1))["handle"]
    target = Target(
        "narrowgate",
        FRONTEND_OUT,
        "payments",
        request_id=handle,
        proxies=SIDECARS,
        others=(AUTHORITY_ROLE, "holder"),
    )
    return Mesh(target, home, certs)


def _ca(home: Path, verb: str, *arguments: str) -> str:
    """Run `narrowgate ca VERB` on our state directory; its standard output."""
    command = [*_COMMAND, "ca", *verb.split(), "--state", str(home / "state"), *arguments]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def _token(home: Path, account: str) -> str:
    return _ca(home, "token create", "--id", spiffe_id(account)).strip()


def _authority(fleet: Fleet, home: Path) -> None:
    """Make a trust domain with its entries, policy and issuer list, and serve it."""
    _ca(home, "init", "--trust-domain", TRUST_DOMAIN)
    endpoint = f"127.0.0.1:{PAYMENTS_IN}"
    _ca(home, "entry create", "--id", spiffe_id("frontend"), "--host", "frontend")
    payments = ["--host", "payments", "--endpoint", endpoint]
    _ca(home, "entry create", "--id", spiffe_id("payments"), *payments)
    _ca(home, "entry create", "--id", spiffe_id("rogue"))
    _ca(home, "policy set", str(_POLICY))
    listed = ["--external-issuer", ISSUER, "--scope", SCOPE, "--lifetime-s-max", str(LIFETIME_S)]
    _ca(home, "issuer set", "--id", spiffe_id("frontend"), *listed)
    (home / "bundle.json").write_text(_ca(home, "bundle"))
    serve = ["--listen", f"127.0.0.1:{AUTHORITY}", "--socket", str(home / "authority.sock")]
    command = [*_COMMAND, "ca", "serve", "--state", str(home / "state"), *serve]
    fleet.start(AUTHORITY_ROLE, [*command, "--svid-lifetime-s", str(2 * LIFETIME_S)], cwd=_ROOT)
    fleet.line(AUTHORITY_ROLE)


def _sidecar(fleet: Fleet, home: Path, role: str, account: str, config: dict[str, Any]) -> None:
    place = home / account
    place.mkdir()
    (place / "token").write_text(_token(home, account))
    (place / "token").chmod(0o600)
    health = config["telemetry"]["health_listen"]
    document = {
        "version": 1,
        "workload": spiffe_id(account),
        "workers": 1,
        "run_dir": "run",
        "authority": {
            "address": f"127.0.0.1:{AUTHORITY}",
            "bundle_file": "../bundle.json",
            "attestor": "join_token",
            "join_token_file": "token",
        },
        "policy": {"source": "authority", "engine": "regorus"},
        **config,
    }
    path = place / "sidecar.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    fleet.start(role, [*_COMMAND, "run", "--config", str(path)], cwd=_ROOT)
    fleet.wait(role, answers(int(health.rpartition(":")[2]), "/ready"))


def _telemetry(base: int) -> dict[str, str]:
    return {
        "metrics_listen": f"127.0.0.1:{base}",
        "health_listen": f"127.0.0.1:{base + 1}",
        "access_log": "access.log",
        "decision_log": "none",
    }


def _frontend(certs: Path) -> dict[str, Any]:
    issuer = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "jwks_file": str(certs / "jwks.json"),
    }
    return {
        "inbound": {"listen": "127.0.0.1:17106", "application": f"127.0.0.1:{HOLDER}"},
        "outbound": {"listen": f"127.0.0.1:{FRONTEND_OUT}"},
        "edge": {
            "listen": f"127.0.0.1:{EDGE}",
            "certificate_file": str(certs / "edge.pem"),
            "key_file": str(certs / "edge.key"),
            "issuers": [issuer],
        },
        "timeouts": {"first_byte_s": _HOLD_S, "idle_s": _HOLD_S, "request_s": _HOLD_S},
        "telemetry": _telemetry(17120),
    }


def _payments() -> dict[str, Any]:
    return {
        "inbound": {"listen": f"127.0.0.1:{PAYMENTS_IN}", "application": f"127.0.0.1:{app.PORT}"},
        "outbound": {"listen": "127.0.0.1:17201"},
        "telemetry": _telemetry(17220),
    }


def _edge(web: Caller, headers: dict[str, str]) -> int | str:
    return ask(EDGE, method="GET", path="/hold", host="frontend", headers=headers, caller=web)


def _hold(certs: Path) -> ssl.SSLSocket:
    """Send the one request from outside; whoever holds the socket holds the grant."""
    context = ssl.create_default_context(cafile=str(certs / "web.pem"))
    plain = socket.create_connection(("127.0.0.1", EDGE), 5)
    held = context.wrap_socket(plain, server_hostname="localhost")
    token = (certs / "good.jwt").read_text()
    lines = ["GET /hold HTTP/1.1", "Host: frontend", f"Authorization: Bearer {token}", "", ""]
    held.sendall("\r\n".join(lines).encode())
    return held
