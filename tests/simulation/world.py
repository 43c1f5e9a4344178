"""A whole mesh in one process on a `MemoryNetwork`: real gates, keys, tokens and policy.

Only the authority's process and the kernel are left out: identities are issued by `ca.authority`
itself and the control stream's snapshot is applied by hand.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import Authority, IssuerRule, make_root
from ca.keys import Secrets
from ca.spiffe.ids import SpiffeId, TrustDomain
from policy.bundle import PolicyBundle
from policy.call import Grant
from sidecar.app import Worker
from sidecar.config import load
from sidecar.identity.credentials import FILE
from sidecar.parts import run_folder
from sidecar.resilience.posture import Dependency
from sidecar.token.external import External
from sidecar.token.root import RootMinter
from sidecar.token.signer import HopSigner
from tests.simulation.network import MemoryNetwork

DOMAIN = "shop.example"
INBOUND = """package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.source.principal == "spiffe://shop.example/ns/shop/sa/frontend"
	input.attributes.request.http.method in {"GET", "POST"}
	input.parsed_path[0] == "charge"
	"payments:charge" in input.narrowgate.token.scope
}
"""
OUTBOUND = """package narrowgate.outbound

import rego.v1

default allow := false

allow := {"allowed": true, "narrowgate": {"scope": ["payments:charge"]}} if {
	input.narrowgate.destination.workload == "spiffe://shop.example/ns/shop/sa/payments"
}
"""


class Application(asyncio.Protocol):
    """A plain HTTP server that answers any request whose head and body came in one piece."""

    answer = (
        b"HTTP/1.1 200 OK\r\nserver: plain\r\ncontent-type: application/json\r\n"
        b'content-length: 15\r\n\r\n{"status":"ok"}'
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)  # type: ignore[attr-defined]


def spiffe(name: str) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://{DOMAIN}/ns/shop/sa/{name}")


class World:
    """The mesh. Use `await World.make(folder, names)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = MemoryNetwork()
        self.workers: dict[str, Worker] = {}
        secrets = Secrets.generate()
        domain = TrustDomain.parse(DOMAIN)
        self.authority = Authority(domain, secrets, make_root(domain, secrets.root_key), 1)

    @classmethod
    async def make(cls, folder: Path, names: tuple[str, ...], *, logs: str = "none") -> World:
        world = cls(folder)
        (folder / "bundle.json").write_bytes(world.bundle_document())
        for index, name in enumerate(names, start=1):
            world.workers[name] = await world._worker(name, index, logs)
        for worker in world.workers.values():
            worker.parts.mesh.apply(world.snapshot(), time.time())
            worker.parts.posture.fresh(*Dependency)
            await worker.parts.policies.settled()
            await worker.gates.open()
        return world

    def bundle_document(self) -> bytes:
        """The trust bundle as `narrowgate ca bundle` prints it."""
        return orjson.dumps(self.authority.bundle.document())

    def snapshot(self) -> dict[str, object]:
        services = [
            {"id": spiffe(name).uri, "hosts": [name], "endpoints": [f"127.0.0.1:171{i:02}"]}
            for i, name in enumerate(self.workers, start=1)
        ]
        modules = {"in.rego": INBOUND, "out.rego": OUTBOUND}
        policy = PolicyBundle.of(modules, {})
        rule = IssuerRule(
            spiffe("frontend"), ("https://idp.example",), ("payments:charge", "read"), 3600
        )
        return {
            "type": "snapshot",
            "sequence": 1,
            "sections": {
                "bundles": {DOMAIN: self.authority.bundle.document()},
                "policy": {"revision": policy.revision, "modules": modules, "data": {}},
                "registry": {"services": services},
                "issuers": self.authority.sign_issuers([rule], time.time()),
                "revocations": {
                    "epoch": 0,
                    "serials": [],
                    "workloads": [],
                    "keys": [],
                    "transactions": [],
                    "tokens": [],
                },
                "pseudonyms": {"key": "A" * 43},
            },
        }

    async def _worker(self, name: str, index: int, logs: str) -> Worker:
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"""version: 1
workload: {spiffe(name).uri}
run_dir: run/{name}
authority: {{address: "127.0.0.1:17010", bundle_file: bundle.json, join_token_file: none}}
inbound: {{listen: "127.0.0.1:171{index:02}", application: "127.0.0.1:190{index:02}"}}
outbound: {{listen: "127.0.0.1:172{index:02}"}}
timeouts: {{request_s: 3600}}
telemetry:
  access_log: {logs}
  decision_log: {logs}
"""
        )
        config = load(path)
        run_folder(config.run_dir)
        self._enrol(config.run_dir, name)
        worker = Worker(config, path, 0, self.network)
        worker.parts.deadlines.start()
        await worker.identity._obtain()
        await self.network.listen(Application, "127.0.0.1", 19000 + index)
        return worker

    def _enrol(self, run_dir: Path, name: str) -> None:
        key, hop = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issued = self.authority.issue(
            spiffe(name), key.public_key(), hop.public_key(), 3600, time.time()
        )
        pem = [
            k.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
            for k in (key, hop)
        ]
        chain = issued.svid.chain[0].public_bytes(serialization.Encoding.PEM).decode()
        document = {"svid": chain, "key": pem[0], "wit": issued.wit.token, "hop_key": pem[1]}
        (run_dir / FILE).write_bytes(orjson.dumps(document))
        (run_dir / FILE).chmod(0o600)

    def grant(self, name: str) -> Grant:
        """A root minted at the edge of `name`, as a caller's access token would make."""
        worker = self.workers[name]
        held = worker.identity.credentials
        minter = RootMinter(HopSigner(held.hop_key, held.wit), worker.parts.mesh.pseudonyms)
        external = External(
            "https://idp.example",
            "ann",
            frozenset({"payments:charge", "read"}),
            time.time() + 3000,
            "",
        )
        return minter.mint(external, worker.parts.mesh.trust.issuers, time.time())

    def handle(self, name: str) -> str:
        """A live inbound call at `name` that holds such a grant."""
        worker = self.workers[name]
        return worker.parts.handles.open(self.grant(name), trace_id=None, now_s=time.time())

    async def close(self) -> None:
        for worker in self.workers.values():
            worker.parts.deadlines.stop()
            await worker.gates.close()
