"""Several workers of one sidecar: one port, one identity, calls correlated across them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support.http_peer import App, Client, Message, call, encode
from tests.support.identities import IDP
from tests.support.mesh import Mesh, Sidecar, until


@pytest.fixture
async def app() -> App:
    return await App().start()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def listeners(pid: int, port: int) -> bool:
    """Whether process `pid` has a listening socket on `port`."""
    wanted = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if line[1] == wanted and line[3] == "0A"}
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any(link == f"socket:[{inode}]" for inode in inodes for link in links)


async def both_listen(sidecar: Sidecar, *, but: int = 0) -> list[int]:
    """Wait until two workers accept at the outbound gate; their pids."""

    def ready() -> bool:
        pids = sidecar.children()
        return (
            len(pids) == 2
            and but not in pids
            and all(listeners(pid, sidecar.outbound) for pid in pids)
        )

    await until(ready, "two workers listen")
    return sidecar.children()


async def test_two_workers_are_one_sidecar(app: App, tmp_path: Path) -> None:
    """One identity, grants found across workers, a killed worker replaced, SIGTERM ends all."""
    mesh = Mesh(tmp_path)
    try:
        await mesh.start_authority()
        from examples.commerce.idp import IdentityProvider, write_web_certificate

        provider = IdentityProvider(IDP, "shop")
        provider.write_jwks(tmp_path / "jwks.json")
        write_web_certificate(tmp_path / "edge.pem", tmp_path / "edge.key")
        back = mesh.add("back", app.port)
        front = mesh.add("front", app.port, workers=2)
        edge = {
            "listen": f"127.0.0.1:{front.edge}",
            "certificate_file": str(tmp_path / "edge.pem"),
            "key_file": str(tmp_path / "edge.key"),
            "issuers": [
                {"issuer": IDP, "audience": "shop", "jwks_file": str(tmp_path / "jwks.json")}
            ],
        }
        front.config.write_text(front.config.read_text() + yaml_of("edge", edge))
        rule = ("--external-issuer", IDP, "--scope", "read", "--scope", "pay")
        mesh.ca("issuer", "set", "--id", front.id, *rule)
        await mesh.start(back, front)
        pids = await both_listen(front)
        assert front.text().count("gates are open") == 2
        serials = {
            line.split("serial ")[1] for line in front.text().splitlines() if "serial" in line
        }
        assert len(serials) == 1, "two workers share one identity"

        await correlated_across_workers(app, mesh, front, back, provider.access_token(["read"]))

        os.kill(pids[1], signal.SIGKILL)
        pids = await both_listen(front, but=pids[1])
        assert (await call(front.outbound, "GET", "/after", host="back")).status == 200
        front.stop()
        assert front.process is not None
        assert front.process.returncode == 0
        assert not any(map(alive, pids))
    finally:
        mesh.close()
        app.stop()


def yaml_of(section: str, members: object) -> str:
    import yaml

    text: str = yaml.safe_dump({section: members})
    return text


async def correlated_across_workers(
    app: App, mesh: Mesh, front: Sidecar, back: Sidecar, token: str
) -> None:
    """The application calls out on many connections, so through both workers."""
    import ssl

    owners: set[str] = set()
    crossed: list[int] = []

    async def answer(request: Message) -> bytes | None:
        if request.target == "/in":
            handle = request.one("x-request-id")
            owners.add(handle[-2:])
            fields = [("X-Request-Id", handle)]
            answers = [
                await call(front.outbound, "GET", "/onwards", fields, host="back") for _ in range(6)
            ]
            crossed.append(sum(one.status == 200 for one in answers))
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    app.answer = answer
    tls = ssl.create_default_context(cafile=str(mesh.folder / "edge.pem"))
    tls.check_hostname = False
    for _ in range(20):
        fields = [("Authorization", f"Bearer {token}")]
        assert (await call(front.edge, "GET", "/in", fields, host="shop", tls=tls)).status == 200
        if len(owners) == 2:
            break
    assert crossed == [6] * len(crossed)
    assert owners == {"00", "01"}
    count = 6 * len(crossed)

    def written() -> bool:
        onwards = [one for one in back.records("decision") if one["path"] == "/onwards"]
        return len(onwards) == count

    await until(written, "the decisions of `back` are in its log")
    # Not one of them fell back to workload identity only, whichever worker it went through.
    onwards = [one for one in back.records("decision") if one["path"] == "/onwards"]
    assert all(one["scope"] == ["read"] and one["hops"] == [front.id] for one in onwards)


async def test_a_worker_that_cannot_start_ends_the_sidecar(app: App, tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    try:
        await mesh.start_authority()
        front = mesh.add("front", app.port, workers=2)
        port = taken.sockets[0].getsockname()[1]
        text = front.config.read_text().replace(f"127.0.0.1:{front.outbound}", f"127.0.0.1:{port}")
        front.config.write_text(text)
        front.start("-m", "sidecar", "run", "--config", str(front.config))
        assert await front.ended() == 1
        said = [line for line in front.text().splitlines() if line.startswith("narrowgate: ")]
        assert said
        assert all(f"cannot listen on 127.0.0.1:{port}" in line for line in said)
        assert "Traceback" not in front.text()
    finally:
        taken.close()
        mesh.close()
        app.stop()


async def test_requests_in_flight_survive_the_other_workers_death(app: App, tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    held: asyncio.Queue[asyncio.Future[bytes]] = asyncio.Queue()

    async def hold(_request: Message) -> bytes | None:
        future = asyncio.get_running_loop().create_future()
        held.put_nowait(future)
        return await future

    try:
        await mesh.start_authority()
        back = mesh.add("back", app.port)
        front = mesh.add("front", app.port, workers=2)
        await mesh.start(back, front)
        pids = await both_listen(front)
        app.answer = hold
        clients = [await Client.open(front.outbound) for _ in range(12)]
        for client in clients:
            await client.send(encode("GET", "/x", host="back"))
        futures = [await held.get() for _ in clients]
        os.kill(pids[0], signal.SIGKILL)
        for future in futures:
            future.set_result(b"HTTP/1.1 204 No Content\r\n\r\n")
        got = await asyncio.gather(
            *(client.response() for client in clients), return_exceptions=True
        )
        answered = [one for one in got if isinstance(one, Message)]
        assert answered
        assert all(one.status == 204 for one in answered)
        await both_listen(front, but=pids[0])
        for client in clients:
            client.close()
    finally:
        mesh.close()
        app.stop()
