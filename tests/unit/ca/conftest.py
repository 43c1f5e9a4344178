"""Fixtures of the authority's tests: corpora, a fresh authority, keys and requests."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import cli, entries
from ca.attest.join_token import JoinTokenAttestor
from ca.attest.unix import UnixAttestor
from ca.authority import Authority
from ca.entries import Entry
from ca.issuing import Issuing
from ca.keys import load_public
from ca.serve import Options, Server, open_authority
from ca.signing_request import SigningRequest
from ca.spiffe import jws
from ca.spiffe.ids import SpiffeId
from ca.store import Store

_ROOT = Path(__file__).resolve().parents[3]
ORDERS = "spiffe://shop.example/ns/shop/sa/orders"


@pytest.fixture
def corpus() -> Callable[[str], Any]:
    """Load `<area>/<name>.json` of the corpora, or skip by name (fail when all is required)."""

    def load(name: str) -> Any:
        folder = os.environ.get("NARROWGATE_CORPORA")
        path = (Path(folder) if folder else _ROOT.parent / "shared" / "data") / name
        if path.is_file():
            return json.loads(path.read_text("utf-8"))
        if os.environ.get("NARROWGATE_REQUIRE_ALL") == "1":
            pytest.fail(f"corpus {name} is required and absent")
        return pytest.skip(f"corpus {name} is absent (set NARROWGATE_CORPORA)")

    return load


@dataclass
class Clock:
    """Real time plus what a test adds."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Keys:
    """A workload's two private keys, and what it sends about them."""

    tls: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    hop: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def csr(self, *, uri: str | None = None, extra: Any = (), digest: Any = None) -> str:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        if uri is not None:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(names, False)
        for extension in extra:
            builder = builder.add_extension(extension, False)
        request = builder.sign(self.tls, digest or hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode()

    def jwk(self) -> dict[str, str]:
        return jws.ec_jwk(self.hop.public_key())

    def thumbprints(self) -> tuple[str, str]:
        return (
            jws.thumbprint(jws.ec_jwk(self.tls.public_key())),
            jws.thumbprint(self.jwk()),
        )

    def request(self, uri: str | None = None) -> SigningRequest:
        return SigningRequest.parse(self.csr(uri=uri), self.jwk())

    def private_pem(self) -> bytes:
        pem: bytes = self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem


@pytest.fixture
def make_keys() -> Callable[[], Keys]:
    return Keys


@pytest.fixture
def state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A fresh authority's state directory with the workload `orders` registered."""
    folder = tmp_path / "ca"
    assert cli.main(["ca", "init", "--state", str(folder), "--trust-domain", "shop.example"]) == 0
    create = ["ca", "entry", "create", "--state", str(folder), "--id", ORDERS]
    assert cli.main([*create, "--host", "orders", "--endpoint", "127.0.0.1:17106"]) == 0
    capsys.readouterr()
    return folder


@dataclass
class World:
    """The authority without its network side; `clock` may be moved."""

    state: Path
    store: Store
    authority: Authority
    issuing: Issuing
    clock: Clock

    def add(self, name: str, **members: Any) -> SpiffeId:
        spiffe_id = SpiffeId.parse(name)
        with self.store.transaction() as rows:
            entries.create(rows, Entry(spiffe_id, **members), self.clock())
        return spiffe_id


@pytest.fixture
def world(state: Path) -> Iterator[World]:
    store, authority = open_authority(state, None)
    clock = Clock()
    attestors = (JoinTokenAttestor(), UnixAttestor())
    yield World(state, store, authority, Issuing(store, authority, attestors, 3600, clock), clock)
    store.close()


@dataclass
class Running:
    """A serving authority and a client of it."""

    state: Path
    server: Server
    clock: Clock
    capsys: pytest.CaptureFixture[str]
    folder: Path

    @property
    def url(self) -> str:
        return f"https://{self.server.address}"

    def cli(self, verb: str, *arguments: str) -> str:
        """Run `narrowgate ca <verb>` and return what it printed."""
        code = cli.main(["ca", *verb.split(), "--state", str(self.state), *arguments])
        printed = self.capsys.readouterr()
        assert code == 0, printed.err
        return printed.out.strip()

    def tls(self, keys: Keys | None = None, answer: dict[str, Any] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(
            cadata=load_public(self.state).root.public_bytes(Encoding.PEM).decode()
        )
        context.check_hostname = False  # SPIFFE: the URI name is compared, not a host name
        if keys is not None and answer is not None:
            path = self.folder / f"{id(keys)}.pem"
            path.write_bytes(keys.private_pem() + answer["svid"].encode())
            context.load_cert_chain(path)
        return context

    @asynccontextmanager
    async def client(
        self, keys: Keys | None = None, answer: dict[str, Any] | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(ssl=self.tls(keys, answer))
        async with aiohttp.ClientSession(self.url, connector=connector) as session:
            yield session

    async def post(
        self, path: str, body: Any, *identity: Any, **how: Any
    ) -> tuple[int, dict[str, Any]]:
        async with self.client(*identity) as session:
            how = how or {"json": body}
            async with session.post(path, **how) as response:
                return response.status, await response.json(content_type=None)

    async def attest(self, keys: Keys, token: str | None = None, **change: Any) -> Any:
        token = token or self.cli("token create", "--id", ORDERS)
        body = {
            "attestor": "join_token",
            "evidence": {"token": token},
            "csr": keys.csr(),
            "hop_key": keys.jwk(),
            **change,
        }
        return await self.post("/v1/attest", body)


@pytest.fixture
async def running(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Running]:
    """A real authority on loopback and on a unix socket, polling quickly."""
    clock = Clock()
    options = Options(state, "127.0.0.1:0", tmp_path / "api.sock", heartbeat_s=0.1, poll_s=0.01)
    server = Server(options, clock)
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(server.run(lambda _: ready.set(), stop))
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        await task
    yield Running(state, server, clock, capsys, tmp_path)
    stop.set()
    await task
