"""Bad input against real processes: nothing wrong is forwarded, and the gates live on."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.http_peer import App, Client, always_ok, call, encode
from tests.support.identities import Identities
from tests.support.mesh import ROOT, Child, Mesh, Sidecar, free_ports

KNOWN: Final[dict[str, str]] = {}
"""Where the gates answer otherwise than the corpus, and why. Nothing here was forwarded."""
UPLOAD_BYTES: Final = 256 * 1024 * 1024
PEAK_GROWTH_BYTES_MAX: Final = 32 * 1024 * 1024

Gates = tuple[Mesh, Sidecar, Sidecar]


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        (port,) = free_ports(1)
        # The hosts of the corpus' acceptable cases.
        callee = mesh.add("callee", port, hosts=("a",))
        caller = mesh.add("caller", port, timeouts={"head_s": 1, "handshake_s": 1})

        async def start() -> None:
            await mesh.start_authority()
            await mesh.start(caller, callee)

        asyncio.run(start())
        yield mesh, caller, callee
    finally:
        mesh.close()


@pytest.fixture
async def app(gates: Gates) -> AsyncIterator[App]:
    """The callee's application; afterwards the gates still work."""
    _, caller, callee = gates
    made = await App().start(callee.application)
    try:
        yield made
        answer = await call(caller.outbound, "GET", "/still-there")
        assert answer.status == 200
    finally:
        made.stop()


@pytest.fixture
def tools(component: Callable[[str, Any], Path]) -> Callable[[str], Path]:
    """A tool by its name, or a skip or failure by that name."""
    home = Path(os.environ.get("NARROWGATE_TOOLS") or ROOT.parent / "shared" / "tools")

    def tool(name: str) -> Path:
        path = home / name
        return component(f"tool {name}", path if path.is_file() else None)

    return tool


async def judged(tool: Path, port: int, upstream: int, data: Path, out: Path) -> dict[str, str]:
    """Run the corpus; every case that a gate judged otherwise, with what it did."""
    arguments = [f"127.0.0.1:{port}", "--upstream-port", str(upstream), "--data", str(data)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(tool), *arguments, "--out", str(out), "--wait", "0.4"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"SMUGGLED: []" in said
    return disagreements(out)


def disagreements(out: Path) -> dict[str, str]:
    results = json.loads(out.read_text())
    assert len(results) > 100
    return {one["id"]: one["strict"] for one in results if one["strict"] != "ok"}


async def test_the_corpus_through_the_outbound_gate(
    gates: Gates, tools: Callable[[str], Path], corpora: Callable[[str], Path], tmp_path: Path
) -> None:
    _, caller, callee = gates
    data = corpora("http") / "http1_requests.json"
    found = await judged(
        tools("run_http1.py"), caller.outbound, callee.application, data, tmp_path / "out.json"
    )
    assert found == KNOWN


async def test_the_corpus_through_the_inbound_gate(
    gates: Gates, tools: Callable[[str], Path], corpora: Callable[[str], Path], tmp_path: Path
) -> None:
    mesh, caller, callee = gates
    data = corpora("http") / "http1_requests.json"
    mesh.client_tls(caller)  # writes the root
    stored = caller.identity()
    (tmp_path / "cert.pem").write_text(stored["svid"])
    (tmp_path / "key.pem").write_text(stored["key"])
    (port,) = free_ports(1)
    bridge = Child("bridge", tmp_path / "bridge.log")
    files = [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), str(mesh.folder / "root.pem")]
    where = [str(port), f"127.0.0.1:{callee.inbound}"]
    bridge.start(str(tools("mtls_bridge.py")), *where, *files, "http/1.1")
    try:
        await listening(port)
        found = await judged(
            tools("run_http1.py"), port, callee.application, data, tmp_path / "in.json"
        )
    finally:
        bridge.stop()
    assert found == KNOWN


async def listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


def test_the_acceptable_hosts_of_the_corpus_are_registered(
    corpora: Callable[[str], Path],
) -> None:
    cases = json.loads((corpora("http") / "http1_requests.json").read_text())["cases"]
    raws = [base64.b64decode(one["raw_b64"]) for one in cases if one["verdict"] == "accept"]
    hosts = {m.lower() for raw in raws for m in re.findall(rb"(?im)^host:[ \t]*(.*?)\r?$", raw)}
    assert hosts == {b"a"}


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: callee\r\nA: " + b"x" * 70_000, 431),
        (b"GET /" + b"x" * 70_000, 414),
        (b"GET /x HTTP/1.1\r\nHost: callee\r\n" + b"A: 1\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"CONNECT callee:80 HTTP/1.1\r\nHost: callee:80\r\n\r\n", 501),
        (b"TRACE /x HTTP/1.1\r\nHost: callee\r\n\r\n", 501),
    ],
    ids=["field", "target", "fields", "tls-hello", "http2", "connect", "trace"],
)
async def test_a_head_that_is_none_is_refused_and_the_connection_closed(
    raw: bytes, status: int, gates: Gates, app: App
) -> None:
    async with await Client.open(gates[1].outbound) as client:
        client.writer.write(raw)
        answer = await client.response()
        assert answer.status in (status, 400)
        assert not await client.closed()
    assert not app.requests


async def test_a_head_that_drips_is_given_up(gates: Gates, app: App) -> None:
    """Slowloris: a byte now and then does not move the bound of the whole head."""
    async with await Client.open(gates[1].outbound) as client:
        raw = b"GET /x HTTP/1.1\r\nHost: callee\r\n" + b"A: 1\r\n" * 100_000

        async def drip() -> None:
            for byte in raw:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            assert (await client.response()).status == 408
        finally:
            dripping.cancel()
    assert not app.requests


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", os.urandom(5000)])
async def test_tls_garbage_gets_no_answer(raw: bytes, gates: Gates, app: App) -> None:
    async with await Client.open(gates[2].inbound) as client:
        client.writer.write(raw)
        client.writer.write_eof()
        assert not re.search(rb"HTTP/1", await client.closed())
    assert not app.requests


async def test_wrong_certificates_get_no_answer(gates: Gates, app: App, tmp_path: Path) -> None:
    mesh, caller, callee = gates
    mesh.client_tls(caller)
    strangers = Identities(tmp_path, "shop.example")  # the same name, another root
    held = strangers.credentials("caller")
    (tmp_path / "pair.pem").write_bytes(held.key_pem + held.svid_pem)
    strangers.close()
    none = ssl.create_default_context(cafile=str(mesh.folder / "root.pem"))
    none.check_hostname = False
    wrong = ssl.create_default_context(cafile=str(mesh.folder / "root.pem"))
    wrong.check_hostname = False
    wrong.load_cert_chain(tmp_path / "pair.pem")
    old = mesh.client_tls(caller)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for tls in (none, wrong):
        async with await Client.open(callee.inbound, tls) as client:
            client.writer.write(encode("GET", "/x"))
            assert not await client.closed()
    with pytest.raises(ssl.SSLError):
        await Client.open(callee.inbound, old)
    assert not app.requests


async def test_a_large_upload_takes_constant_memory(gates: Gates, app: App) -> None:
    _, caller, callee = gates
    app.keep_bodies = False
    assert (await call(caller.outbound, "GET", "/warm")).status == 200
    before = {}
    for sidecar in (caller, callee):
        sidecar.reset_peak_rss()
        before[sidecar.name] = sidecar.peak_rss_bytes()
    piece = bytes(1 << 20)
    async with await Client.open(caller.outbound) as client:
        client.writer.write(encode("PUT", "/big", [("Content-Length", str(UPLOAD_BYTES))]))
        for _ in range(UPLOAD_BYTES // len(piece)):
            client.writer.write(piece)
            await client.writer.drain()
        assert (await client.response()).status == 200
    assert app.last().received_bytes == UPLOAD_BYTES
    for sidecar in (caller, callee):
        growth = sidecar.peak_rss_bytes() - before[sidecar.name]
        assert growth < PEAK_GROWTH_BYTES_MAX, f"{sidecar.name}: {growth / 2**20:.1f} MiB"


async def test_a_large_download_to_a_slow_reader_takes_constant_memory(
    gates: Gates, app: App
) -> None:
    """The application writes as fast as it can; the reader takes it only when the writer waits."""
    _, caller, callee = gates
    size = 48 * 1024 * 1024
    stalled = asyncio.Event()

    def send(_request: object, writer: asyncio.StreamWriter) -> None:
        async def run() -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            piece = bytes(1 << 20)
            for _ in range(size // len(piece)):
                writer.write(piece)
                try:
                    await asyncio.wait_for(asyncio.shield(writer.drain()), 1)
                except TimeoutError:
                    stalled.set()
                    await writer.drain()

        sending.append(asyncio.create_task(run()))

    sending: list[asyncio.Task[None]] = []
    for sidecar in (caller, callee):
        sidecar.reset_peak_rss()
    before = {sidecar.name: sidecar.peak_rss_bytes() for sidecar in (caller, callee)}
    app.answer = never
    app.at_head = send
    async with await Client.open(caller.outbound) as client:
        client.writer.write(encode("GET", "/big"))
        async with asyncio.timeout(60):
            await stalled.wait()
        answer = await client.response(keep=False)
    assert answer.received_bytes == size
    await sending[0]
    app.at_head, app.answer = None, always_ok
    app.drop_connections()  # its end of the exchange waits for ever
    for sidecar in (caller, callee):
        growth = sidecar.peak_rss_bytes() - before[sidecar.name]
        assert growth < PEAK_GROWTH_BYTES_MAX, f"{sidecar.name}: {growth / 2**20:.1f} MiB"


async def never(_request: object) -> bytes | None:
    return await asyncio.get_running_loop().create_future()
