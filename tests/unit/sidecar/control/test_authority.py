"""Talking to the authority: who it must be, what it may say, and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ca.spiffe.ids import TrustDomain
from sidecar.address import Address
from sidecar.control import authority
from sidecar.control.authority import Authority, AuthorityError
from sidecar.net.deadlines import Deadlines
from sidecar.net.network import LoopNetwork
from tests.support.identities import DOMAIN, Identities
from tests.support.scripted import Scripted, problem


@pytest.fixture
async def deadlines() -> AsyncIterator[Deadlines]:
    made = Deadlines()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def scripted(identities: Identities) -> AsyncIterator[Scripted]:
    made = await Scripted(identities).start()
    yield made
    made.stop()


async def post(scripted: Scripted, deadlines: Deadlines) -> dict[str, object]:
    tls = scripted.identities.tls(scripted.identities.credentials("orders"))
    return await scripted.client(deadlines).post("/v1/renew", {"a": 1}, tls)


async def test_a_post_and_its_answer(scripted: Scripted, deadlines: Deadlines) -> None:
    scripted.answer = lambda _: (200, b'{"svid": "x"}')
    assert await post(scripted, deadlines) == {"svid": "x"}
    (request,) = scripted.posts
    assert (request.target, request.body) == ("/v1/renew", b'{"a":1}')


async def test_a_refusal_keeps_the_authoritys_words(
    scripted: Scripted, deadlines: Deadlines
) -> None:
    scripted.answer = lambda _: problem(403, "the workload was revoked")
    with pytest.raises(AuthorityError, match=r"refused \(403\): the workload was revoked") as info:
        await post(scripted, deadlines)
    assert info.value.refused


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"7", b'{"a"'])
async def test_an_answer_that_is_none(
    body: bytes, scripted: Scripted, deadlines: Deadlines
) -> None:
    scripted.answer = lambda _: (200, body)
    with pytest.raises(AuthorityError, match="not"):
        await post(scripted, deadlines)


async def test_an_answer_is_bounded(
    scripted: Scripted, deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "ANSWER_BYTES_MAX", 1000)
    scripted.answer = lambda _: (200, b'"' + b"x" * 2000 + b'"')
    with pytest.raises(AuthorityError, match="over its bound"):
        await post(scripted, deadlines)


async def test_another_workload_is_not_the_authority(
    identities: Identities, deadlines: Deadlines
) -> None:
    pretender = await Scripted(identities, name="orders").start()
    with pytest.raises(AuthorityError, match="no answer"):
        await post(pretender, deadlines)
    assert not pretender.posts
    pretender.stop()


async def test_an_authority_of_another_root_is_none(
    identities: Identities, strangers: Identities, deadlines: Deadlines
) -> None:
    other = await Scripted(strangers).start()
    tls = identities.tls(identities.credentials("orders"))
    with pytest.raises(AuthorityError, match="no answer"):
        await other.client(deadlines).post("/v1/renew", {}, tls)
    other.stop()


async def test_nobody_there(identities: Identities, deadlines: Deadlines) -> None:
    scripted = await Scripted(identities).start()
    scripted.stop()
    with pytest.raises(AuthorityError, match="no answer"):
        await post(scripted, deadlines)
    none = Authority(
        *(Address("127.0.0.1", 1), None, TrustDomain.parse(DOMAIN), LoopNetwork(), deadlines),
        answer_s=1,
    )
    with pytest.raises(AuthorityError, match=r"authority\.socket is not configured"):
        await none.post("/v1/attest", {}, None)


async def test_one_that_accepts_and_is_silent_keeps_no_connection(
    identities: Identities, deadlines: Deadlines
) -> None:
    """Nothing of ours stays open after the wait is over."""
    closed = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.gather(reader.read(), return_exceptions=True)
        closed.set()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    silent = Authority(
        *(address, None, TrustDomain.parse(DOMAIN), LoopNetwork(), deadlines), answer_s=0.1
    )
    tls = identities.tls(identities.credentials("orders"))
    with pytest.raises(AuthorityError, match="TimeoutError"):
        await silent.post("/v1/renew", {}, tls)
    async with asyncio.timeout(20):
        await closed.wait()
    server.close()


async def test_the_unix_socket(
    deadlines: Deadlines, identities: Identities, tmp_path: Path
) -> None:
    """The same exchange without TLS: the kernel tells who asks."""
    scripted = Scripted(identities)
    path = tmp_path / "authority.sock"
    server = await asyncio.start_unix_server(scripted._serve, path)
    client = Authority(
        *(Address("127.0.0.1", 1), path, TrustDomain.parse(DOMAIN), LoopNetwork(), deadlines),
        answer_s=5,
    )
    assert await client.post("/v1/attest", {"b": 2}, None) == {}
    assert scripted.posts[0].body == b'{"b":2}'
    server.close()


async def collected(scripted: Scripted, deadlines: Deadlines, silence_s: float) -> list[object]:
    tls = scripted.identities.tls(scripted.identities.credentials("orders"))
    found: list[object] = []
    try:
        async for line in scripted.client(deadlines).lines("/v1/control", tls, silence_s):
            found.append(line)
    except AuthorityError as error:
        found.append(str(error))
    return found


async def test_lines_however_they_are_cut(scripted: Scripted, deadlines: Deadlines) -> None:
    scripted.hold = False
    scripted.lines = lambda _: [b'{"a":1}\n{"b"', b":2", b"}\n", b'\n{"c":3}\n', b'{"half":']
    *lines, end = await collected(scripted, deadlines, 5)
    assert lines == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert isinstance(end, str)


async def test_silence_is_bounded(scripted: Scripted, deadlines: Deadlines) -> None:
    scripted.lines = lambda _: [{"a": 1}]
    assert await collected(scripted, deadlines, 0.1) == [
        {"a": 1},
        "the control stream broke: no answer in time",
    ]


async def test_a_line_is_bounded(
    scripted: Scripted, deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "LINE_BYTES_MAX", 100)
    scripted.lines = lambda _: [b"x" * 101]
    assert await collected(scripted, deadlines, 5) == [
        "a line of the control stream is over its bound"
    ]


@pytest.mark.parametrize("line", [b"no\n", b"[]\n", b"\xff\n"])
async def test_a_line_that_is_no_object(
    line: bytes, scripted: Scripted, deadlines: Deadlines
) -> None:
    scripted.lines = lambda _: [line]
    (found,) = await collected(scripted, deadlines, 5)
    assert "not" in str(found)
