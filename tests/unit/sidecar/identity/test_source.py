"""Obtaining an identity and keeping it current, whatever the authority and the disk do."""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ca.spiffe.jws import jwk_to_key
from sidecar.config import Authority as Settings
from sidecar.control.mesh import Mesh
from sidecar.identity import source as module
from sidecar.identity.credentials import FILE, Credentials
from sidecar.identity.source import RENEWAL_S_MIN, IdentitySource
from sidecar.net.clock import ManualClock
from sidecar.net.deadlines import Deadlines
from tests.support.http_peer import Message
from tests.support.identities import Identities, workload
from tests.support.mesh import until
from tests.support.scripted import Scripted, problem


class Bench:
    """An authority that issues, and sources that ask it."""

    def __init__(self, identities: Identities, scripted: Scripted, folder: Path) -> None:
        self.identities, self.scripted, self.folder = identities, scripted, folder
        self.clock = ManualClock(identities.credentials("x").obtained_s)
        self.deadlines = Deadlines()
        self.deadlines.start()
        self.lifetime_s = 3600
        self.refuse: tuple[int, bytes] | None = None
        self.rotated: list[Credentials] = []
        self.tasks: list[asyncio.Task[None]] = []
        (folder / "token").write_text("one-use\n")
        scripted.answer = self._answer

    def _answer(self, request: Message) -> tuple[int, bytes]:
        if self.refuse is not None:
            return self.refuse
        body = json.loads(request.body)
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        keys = [csr.public_key(), jwk_to_key(body["hop_key"])]
        issued = self.identities.authority.issue(
            workload("orders"),
            *keys,
            self.lifetime_s,
            self.clock.time_s(),  # type: ignore[arg-type]
        )
        svid = "".join(one.public_bytes(module_encoding()).decode() for one in issued.svid.chain)
        return 200, json.dumps({"svid": svid, "wit": issued.wit.token}).encode()

    def source(self, folder: Path | None = None) -> IdentitySource:
        settings = Settings(
            bundle_file=self.folder / "unused", join_token_file=self.folder / "token"
        )
        return IdentitySource(
            settings,
            folder or self.folder,
            self.scripted.client(self.deadlines),
            Mesh(workload("orders"), self.identities.bundle),
            self.clock,
            lambda: 0.5,
            self.rotated.append,
        )

    def run(self, source: IdentitySource) -> None:
        self.tasks.append(asyncio.create_task(source.run()))

    async def generations(self, count: int) -> None:
        await until(lambda: len(self.rotated) >= count, "another generation")

    @property
    def paths(self) -> list[str]:
        return [post.target for post in self.scripted.posts]


def module_encoding() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


@pytest.fixture
async def bench(identities: Identities, tmp_path: Path) -> AsyncIterator[Bench]:
    scripted = await Scripted(identities).start()
    made = Bench(identities, scripted, tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    if made.tasks:
        await asyncio.wait(made.tasks)
    scripted.stop()
    made.deadlines.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits take no time; what was waited for is noted."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0.001)

    class Asyncio:
        def __getattr__(self, name: str) -> Any:
            return note if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(module, "asyncio", Asyncio())
    return waited


async def test_attest_once_with_the_join_token(bench: Bench) -> None:
    source = bench.source()
    assert source.held is None
    bench.run(source)
    await source.obtained.wait()
    assert bench.paths == ["/v1/attest"]
    body = json.loads(bench.scripted.posts[0].body)
    assert body["evidence"] == {"token": "one-use"}
    assert source.held is source.credentials
    assert source.credentials.svid.id == workload("orders")
    assert (bench.folder / FILE).stat().st_mode & 0o777 == 0o600
    assert isinstance(source.server_context, ssl.SSLContext)


async def test_a_restart_needs_no_token(bench: Bench) -> None:
    bench.run(bench.source())
    await bench.generations(1)
    again = bench.source()
    bench.run(again)
    await bench.generations(2)
    assert bench.paths == ["/v1/attest"]
    assert bench.rotated[0].svid == bench.rotated[1].svid


async def test_renewal_at_half_life_under_the_current_identity(
    bench: Bench, quick: list[float]
) -> None:
    """The pause is half of the life that is left, however far the certificate is dated back."""
    bench.run(bench.source())
    await bench.generations(2)
    assert bench.paths[:2] == ["/v1/attest", "/v1/renew"]
    assert quick[0] == pytest.approx(1800, abs=2)
    assert bench.rotated[0].svid.serial != bench.rotated[1].svid.serial


async def test_a_short_life_is_no_reason_to_renew_without_a_pause(
    bench: Bench, quick: list[float]
) -> None:
    bench.lifetime_s = 5
    bench.run(bench.source())
    await bench.generations(4)
    assert min(quick) >= RENEWAL_S_MIN
    assert quick[0] == pytest.approx(2.5, abs=1.1)


async def test_after_it_expired_it_attests_anew(bench: Bench, quick: list[float]) -> None:
    bench.run(bench.source())
    await bench.generations(1)
    bench.tasks[0].cancel()
    await asyncio.wait(bench.tasks)
    bench.clock.advance(3601)
    bench.run(bench.source())
    await bench.generations(len(bench.rotated) + 1)
    assert bench.paths[-1] == "/v1/attest" or "/v1/attest" in bench.paths[1:]


async def test_two_workers_share_one_identity(bench: Bench) -> None:
    """They start at once; one attests, the other waits for it and takes what it stored."""
    sources = [bench.source(), bench.source()]
    for source in sources:
        bench.run(source)
    await bench.generations(2)
    assert bench.paths == ["/v1/attest"]
    assert sources[0].credentials.svid == sources[1].credentials.svid


async def test_one_of_two_workers_renews(bench: Bench) -> None:
    first, second = bench.source(), bench.source()
    for source in (first, second):
        await source._obtain()
    bench.clock.advance(1801)
    await first._obtain()
    await second._obtain()
    assert bench.paths == ["/v1/attest", "/v1/renew"]
    assert first.credentials.svid == second.credentials.svid


@pytest.mark.parametrize("how", ["refused", "down", "nonsense"])
async def test_a_renewal_that_fails_changes_nothing(
    how: str, bench: Bench, quick: list[float]
) -> None:
    source = bench.source()
    await source._obtain()
    held, context = source.credentials, source.server_context
    bench.clock.advance(1801)
    if how == "refused":
        bench.refuse = problem(403, "the workload was revoked")
    elif how == "nonsense":
        bench.refuse = (200, b'{"svid": "x", "wit": "y"}')
    else:
        bench.scripted.stop()
    bench.run(source)
    await until(lambda: len(quick) >= 7, "seven attempts")
    assert (source.credentials, source.server_context) == (held, context)
    assert len(bench.rotated) == 1
    growing = [module.RETRY_S_MIN * 2**step for step in range(5)]
    assert quick[:5] == pytest.approx(growing)


async def test_a_full_disk_is_no_reason_to_have_no_identity(bench: Bench) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    source = bench.source()
    # Enough for a certificate and its key in memory, too little for all that is stored.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        await source._obtain()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert source.held is not None
    assert not (bench.folder / FILE).exists()


async def test_without_a_token_it_says_what_to_do(bench: Bench, caplog: Any) -> None:
    (bench.folder / "token").unlink()
    bench.run(bench.source())
    await until(lambda: "ca token create" in caplog.text, "it says what to do")
    assert not bench.scripted.posts


async def test_a_folder_that_others_can_read_stops_it(bench: Bench, caplog: Any) -> None:
    await bench.source()._obtain()
    (bench.folder / FILE).chmod(0o644)
    again = bench.source()
    bench.run(again)
    await until(lambda: "open to others" in caplog.text, "it says why")
    assert again.held is None


async def test_new_roots_make_new_contexts(bench: Bench) -> None:
    source = bench.source()
    await source._obtain()
    before = source.server_context
    snapshot = bench.identities.snapshot(1)
    source._mesh.apply(snapshot, bench.clock.time_s())
    assert source.server_context is not before
    assert source.credentials is bench.rotated[0]


async def test_no_roots_at_all_leave_the_contexts(bench: Bench) -> None:
    """`Admission` refuses every peer then; the identity itself goes on."""
    source = bench.source()
    await source._obtain()
    before = source.server_context
    document = bench.identities.bundle.document()
    keys = [key for key in document["keys"] if key["use"] != "x509-svid"]  # type: ignore[attr-defined]
    bundles = {bench.identities.domain: {**document, "keys": keys}}
    source._mesh.apply(bench.identities.snapshot(1, bundles=bundles), bench.clock.time_s())
    assert source.server_context is before


async def test_the_lock_is_let_go_when_it_is_cancelled(bench: Bench) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    source = bench.source()

    async def stuck(_held: object) -> Any:
        await never

    source._ask = stuck  # type: ignore[method-assign]
    task = asyncio.create_task(source._obtain())
    await until((bench.folder / "identity.lock").exists, "the lock")
    task.cancel()
    await asyncio.wait([task])
    await bench.source()._obtain()
    assert bench.paths == ["/v1/attest"]
