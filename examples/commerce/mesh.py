"""Brings the whole shop up on this machine, and down again: authority, services, sidecars, OPA.

Everything is a real process in its own process group; all state is in one temporary folder.
Waiting is for readiness, never for a length of time.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.commerce import attacker, configuration, opa, records
from examples.commerce.client import Answer, Customer, post
from examples.commerce.configuration import Surroundings
from examples.commerce.idp import IdentityProvider, write_web_certificate
from examples.commerce.processes import Processes
from examples.commerce.topology import (
    AUDIENCE,
    FULL_SCOPE,
    ISSUER,
    KIOSK_SVID_LIFETIME_S,
    POLICIES,
    PORTS_EACH,
    ROOT_LIFETIME_S,
    SERVICES,
    TRUST_DOMAIN,
    held_ports,
    places,
    spiffe_id,
)
from sidecar.cli import INTERRUPTED, SUCCESS, USAGE
from sidecar.cli import main as narrowgate

START_S = 30.0
INTRUDER = "intruder"
KIOSK = "kiosk"
EDGES = ("storefront", KIOSK)

Progress = Callable[[str], None]


class CommandFailed(RuntimeError):
    """A `narrowgate` command did not succeed; the message has what it said."""


class Mesh:
    """The shop, running. Use as a context manager; `say` is told what happens."""

    def __init__(self, say: Progress, *, keep: bool = False) -> None:
        self._say = say
        self._exit = ExitStack()
        if keep:
            folder = Path(tempfile.mkdtemp(prefix="narrowgate-shop-"))
        else:
            made = tempfile.TemporaryDirectory(prefix="narrowgate-", ignore_cleanup_errors=True)
            folder = Path(self._exit.enter_context(made))
        self.folder = folder
        names = (*SERVICES, KIOSK)
        ports = self._exit.enter_context(held_ports(PORTS_EACH * len(names) + 1))
        self._authority_port = ports.pop()
        self.places = places(names, ports)
        self.around = Surroundings(folder, self._authority_port, folder / "authority.sock")
        self.processes = self._exit.enter_context(Processes(folder / "logs"))
        self.provider = IdentityProvider(ISSUER, AUDIENCE)
        self.opa_binary = opa.find()
        self.opa_socket = folder / "opa.sock"
        self._state = folder / "authority"
        self._identities: dict[str, attacker.Identity] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    @contextmanager
    def authority_only(self) -> Iterator[Self]:
        """The mesh with its authority and nothing else."""
        with self._exit:
            self._start_authority_first()
            yield self

    # Set-up, in the order in which an operator does it.

    def _start(self) -> None:
        self._start_authority_first()
        if self.opa_binary is not None:
            self._say("a real OPA, beside the ledger")
            self.start_opa()
        self._say(f"services: {', '.join(SERVICES)}")
        for name in SERVICES:
            self.start_service(name)
        self._say("sidecars, one beside each")
        for name in SERVICES:
            self.start_sidecar(name)
        for name in SERVICES:
            self.await_ready(name)

    def _start_authority_first(self) -> None:
        self._say("identity provider and web certificate")
        write_web_certificate(self.around.certificate_file, self.around.key_file)
        self.provider.write_jwks(self.around.jwks_file)
        self.customer = Customer(self.around.certificate_file)
        self._say("authority: init, entries, policies, issuers, join tokens")
        self.ca("init", "--trust-domain", TRUST_DOMAIN)
        self._register()
        bundle = self.ca("bundle")
        self.bundle_document: dict[str, Any] = json.loads(bundle)
        self.around.bundle_file.write_text(bundle)
        self._say("authority: serve")
        self.start_authority()

    def _register(self) -> None:
        """Entries first; then everything that refers to them."""
        commands = [
            [*_entry(place.id), "--host", name, "--endpoint", f"127.0.0.1:{place.inbound}"]
            for name, place in self.places.items()
            if name != KIOSK
        ]
        commands.append(_entry(spiffe_id(INTRUDER)))
        kiosk = [*_entry(spiffe_id(KIOSK)), "--selector", f"unix:uid:{os.getuid()}"]
        commands.append([*kiosk, "--svid-lifetime-s", str(KIOSK_SVID_LIFETIME_S)])
        policies = {**{name: name for name in SERVICES}, KIOSK: "storefront"}
        commands += [
            ["policy", "set", "--id", spiffe_id(name), str(POLICIES / policy)]
            for name, policy in policies.items()
        ]
        commands += [self._issuer(name) for name in EDGES]
        for command in commands:
            self.ca(*command)

    @staticmethod
    def _issuer(name: str) -> list[str]:
        return [
            *("issuer", "set", "--id", spiffe_id(name), "--external-issuer", ISSUER),
            *("--lifetime-s-max", str(ROOT_LIFETIME_S)),
            *(word for atom in FULL_SCOPE for word in ("--scope", atom)),
        ]

    def ca(self, *arguments: str) -> str:
        """Run `narrowgate ca ...` on the authority's state; its standard output.

        Verbs that only write to the store run in this process, which saves a second for each.
        """
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = narrowgate(["ca", *arguments, "--state", str(self._state)])
            except SystemExit:  # the command line was not understood
                code = USAGE
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != SUCCESS:
            raise CommandFailed(f"narrowgate ca {arguments[0]}: {err.getvalue().strip()}")
        return out.getvalue()

    @staticmethod
    def _environment(**more: str) -> dict[str, str]:
        """Our own environment without proxies; children find the repository's packages."""
        kept = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        kept["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(opa.REPOSITORY), kept.get("PYTHONPATH", "")) if part
        )
        return {**kept, "PYTHONUNBUFFERED": "1", **more}

    # Processes.

    def start_authority(self) -> None:
        """Start the authority and wait until it answers."""
        serve = ["ca", "serve", "--state", str(self._state)]
        serve += ["--listen", f"127.0.0.1:{self._authority_port}"]
        serve += ["--socket", str(self.around.authority_socket), "--heartbeat-s", "1"]
        argv = [sys.executable, "-m", "sidecar", *serve]
        offset = self._ready_lines()
        self.processes.start("authority", argv, self._environment())
        self.processes.wait_for("authority", lambda: self._ready_lines() > offset, START_S)

    def _ready_lines(self) -> int:
        """How often the authority has said that it listens."""
        log = self.processes.log_path("authority")
        return log.read_text(errors="replace").count("ready") if log.exists() else 0

    def start_opa(self) -> None:
        """Start an empty OPA on its unix socket; the ledger's sidecar gives it the policy."""
        self.opa_socket.unlink(missing_ok=True)
        argv = [str(self.opa_binary), "run", "--server", "--addr", f"unix://{self.opa_socket}"]
        argv += ["--log-level", "error", "--disable-telemetry"]
        self.processes.start("opa", argv, self._environment())
        self.processes.wait_for("opa", self.opa_socket.exists, START_S)

    def start_service(self, name: str, *, module: str | None = None) -> None:
        """Start one application: its address, its database and its proxy from the environment."""
        place = self.places[name]
        environment = self._environment(
            LISTEN=f"127.0.0.1:{place.application}",
            DATABASE=str(self.folder / "data" / f"{name}.sqlite"),
            LOG_HEADERS="1",
            http_proxy=f"http://127.0.0.1:{place.outbound}",
        )
        argv = [sys.executable, "-m", f"examples.commerce.services.{module or name}"]
        self.processes.start(f"{name}-app", argv, environment)

    def restart_sidecar(self, name: str, module: str = "sidecar") -> None:
        """Stop the sidecar of a workload, start it and wait until it is ready."""
        self.processes.stop(name)
        self.start_sidecar(name, module=module)
        self.await_ready(name)

    def start_sidecar(self, name: str, *, module: str = "sidecar") -> None:
        """Start the sidecar of a workload with a fresh join token; does not wait."""
        place, kiosk = self.places[name], name == KIOSK
        role = configuration.Role(
            edge=name in EDGES,
            workers=2 if name == "orders" else 1,
            opa_socket=self.opa_socket if name == "ledger" and self.opa_binary else None,
            unix_attestation=kiosk,
        )
        path = configuration.write(place, self.around, role)
        if not kiosk:
            token = self.around.token_file(name)
            token.touch(mode=0o600)
            token.write_text(self.join_token(name))
        argv = [sys.executable, "-m", module, "run", "--config", str(path)]
        self.processes.start(name, argv, self._environment())

    def await_ready(self, name: str, within_s: float = START_S) -> None:
        """Wait until a workload's application listens and its sidecar is ready."""
        place = self.places[name]
        app = f"{name}-app"
        self.processes.wait_for(app, lambda: _healthy(place.application, "/healthz"), within_s)
        self.processes.wait_for(name, lambda: _healthy(place.health, "/ready"), within_s)

    # What the scenarios use.

    def join_token(self, name: str) -> str:
        """A one-use join token for a registered workload."""
        return self.ca("token", "create", "--id", spiffe_id(name)).strip()

    def identity(self, name: str) -> attacker.Identity:
        """A workload in the attacker's hands: attested once, then kept."""
        if name not in self._identities:
            self._identities[name] = self.fresh_identity(name)
        return self._identities[name]

    def fresh_identity(self, name: str) -> attacker.Identity:
        """One more SVID and hop key for a registered workload."""
        return self.attest_with(self.join_token(name))

    def attest_with(self, token: str) -> attacker.Identity:
        """What the authority gives for a join token."""
        return attacker.attest(self._authority_port, self.bundle_document, token)

    def buy(
        self,
        *,
        edge: str = "storefront",
        token: str | None = "",
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        """A customer buys tea, with a good access token of their own unless told otherwise."""
        basket = {"sku": "tea", "quantity": 2, "email": "alice@example.com"}
        if token == "":
            token = self.provider.access_token(FULL_SCOPE)
        port = self.places[edge].edge
        return self.customer.send(port, post("/checkout", basket, fields), token)

    def until(
        self,
        attempt: Callable[[], Answer],
        wanted: str,
        within_s: float = 15.0,
        log: str | None = None,
    ) -> Answer:
        """Repeat `attempt` until it answers `wanted`; its last answer either way.

        With `log`, what the caller is not told is looked up in that workload's decisions.
        """
        end_s = time.monotonic() + within_s
        while True:
            answer = attempt()
            seen = str(answer) if log is None else self.explain(answer, log)
            if seen == wanted or time.monotonic() > end_s:
                return answer
            time.sleep(0.05)

    def explain(self, answer: Answer, name: str) -> str:
        """The answer with its reason; from the decision log where the caller is not told."""
        if answer.reason or not answer.decision:
            return str(answer)
        log = self.around.decision_log(name)
        found = records.await_decision(log, lambda decision: decision.id == answer.decision)
        return f"{answer.status} {found.reason if found else '(no decision record)'}"


def _entry(workload: str) -> list[str]:
    return ["entry", "create", "--id", workload]


def _healthy(port: int, target: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", target)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
