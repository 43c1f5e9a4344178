"""Two workers over real sockets: what one knows, the other is told; every failure is nothing."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sidecar.token import siblings as module
from sidecar.token.correlation import Handles
from sidecar.token.siblings import Siblings, SiblingServer, socket_path

NOW_S = 1_800_000_000.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def workers(run_dir: Path, count: int = 2) -> AsyncIterator[list[Handles]]:
    """`count` workers' stores, each but the first listening."""
    stores = [Handles(index) for index in range(count)]
    servers = [SiblingServer(store, run_dir, lambda: NOW_S) for store in stores[1:]]
    for server in servers:
        await server.start()
    try:
        yield stores
    finally:
        for server in servers:
            await server.close()


@asynccontextmanager
async def asking(mine: Handles, run_dir: Path, count: int = 2) -> AsyncIterator[Siblings]:
    siblings = Siblings(mine, run_dir, workers=count, timeout_s=5)
    try:
        yield siblings
    finally:
        siblings.close()


async def test_handle_is_found_at_its_owner(tmp_path: Path, grant: Any) -> None:
    async with workers(tmp_path) as (mine, other), asking(mine, tmp_path) as siblings:
        held = grant()
        theirs = other.open(held, trace_id=None, now_s=NOW_S)
        own = mine.open(held, trace_id=None, now_s=NOW_S)
        assert await siblings.find(own, NOW_S) is held
        for _ in range(3):
            found = await siblings.find(theirs, NOW_S)
            assert found is not None
            assert (found.root, found.chain, found.scope) == (held.root, held.chain, held.scope)
        other.close(theirs, NOW_S)
        assert await siblings.find(theirs, NOW_S) is None
        assert await siblings.find("0" * 32 + "01", NOW_S) is None
        assert await siblings.find("0" * 32 + "09", NOW_S) is None, "no such worker"
        assert await siblings.find("nonsense", NOW_S) is None


async def test_trace_needs_every_answer(tmp_path: Path, grant: Any) -> None:
    async with workers(tmp_path, 3) as stores, asking(stores[0], tmp_path, 3) as siblings:
        assert await siblings.by_trace(TRACE, NOW_S) is None
        stores[2].open(grant(["a", "b"]), trace_id=TRACE, now_s=NOW_S)
        found = await siblings.by_trace(TRACE, NOW_S)
        assert found is not None
        assert found.scope == {"a", "b"}
        stores[0].open(grant(["b", "c"]), trace_id=TRACE, now_s=NOW_S)
        found = await siblings.by_trace(TRACE, NOW_S)
        assert found is not None
        assert found.scope == {"b"}
        stores[1].open(grant(txn="txn-2"), trace_id=TRACE, now_s=NOW_S)
        assert await siblings.by_trace(TRACE, NOW_S) is None
    async with workers(tmp_path, 2) as stores, asking(stores[0], tmp_path, 3) as siblings:
        stores[0].open(grant(), trace_id=TRACE, now_s=NOW_S)
        assert await siblings.by_trace(TRACE, NOW_S) is None, "the third worker is away"


async def test_sibling_that_cannot_tell_makes_nothing(tmp_path: Path, grant: Any) -> None:
    async with workers(tmp_path) as (mine, other), asking(mine, tmp_path) as siblings:
        mine.open(grant(), trace_id=TRACE, now_s=NOW_S)
        other.open(None, trace_id=TRACE, now_s=NOW_S)
        assert await siblings.by_trace(TRACE, NOW_S) is None


async def test_restarted_sibling_is_asked_again(tmp_path: Path, grant: Any) -> None:
    mine = Handles(0)
    async with asking(mine, tmp_path) as siblings:
        for _ in range(2):
            async with workers(tmp_path) as (_, other):
                theirs = other.open(grant(), trace_id=None, now_s=NOW_S)
                found = [await siblings.find(theirs, NOW_S) for _ in range(2)]
                assert found[-1] is not None, "at the latest after the broken connection"
            assert await siblings.find(theirs, NOW_S) is None


async def test_socket_is_private(tmp_path: Path) -> None:
    socket_path(tmp_path, 1).write_text("left by an earlier run")
    async with workers(tmp_path):
        mode = socket_path(tmp_path, 1).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not socket_path(tmp_path, 1).exists()


async def test_other_user_is_told_nothing(
    tmp_path: Path, grant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workers(tmp_path) as (mine, other), asking(mine, tmp_path) as siblings:
        theirs = other.open(grant(), trace_id=None, now_s=NOW_S)
        uid = os.geteuid()
        monkeypatch.setattr(module.os, "geteuid", lambda: uid + 1)
        assert await siblings.find(theirs, NOW_S) is None
        reader, writer = await asyncio.open_unix_connection(socket_path(tmp_path, 1))
        writer.write(json.dumps({"find": theirs}).encode() + b"\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


@pytest.mark.parametrize(
    "question",
    [b"\n", b"[]\n", b"{}\n", b'{"find":1}\n', b'{"find":"a","trace":"b"}\n', b"x" * 600 + b"\n"],
)
async def test_broken_question_ends_the_connection(tmp_path: Path, question: bytes) -> None:
    async with workers(tmp_path):
        reader, writer = await asyncio.open_unix_connection(socket_path(tmp_path, 1))
        writer.write(question)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


Answer = Callable[[dict[str, Any]], bytes]


@asynccontextmanager
async def impostor(run_dir: Path, answer: Answer) -> AsyncIterator[None]:
    """Something else at the second worker's socket."""

    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        while line := await reader.readline():
            writer.write(answer(json.loads(line)))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, socket_path(run_dir, 1))
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"[]\n",
        b'{"of":"another","told":true,"grant":null}\n',
        b'{"of":"@","told":true,"grant":[]}\n',
        b'{"of":"@","told":true,"grant":{}}\n',
        b'{"of":"@","told":1,"grant":null}\n',
        b"x" * 70000 + b"\n",
    ],
)
async def test_broken_answer_is_nothing(tmp_path: Path, answer: bytes) -> None:
    handle = "0" * 32 + "01"
    text = answer.replace(b"@", handle.encode())
    async with impostor(tmp_path, lambda _: text), asking(Handles(0), tmp_path) as siblings:
        assert await siblings.find(handle, NOW_S) is None
        assert await siblings.by_trace(TRACE, NOW_S) is None


async def test_silence_is_nothing_and_a_late_answer_meets_no_other_question(
    tmp_path: Path,
) -> None:
    asked = []

    def silent(question: dict[str, Any]) -> bytes:
        asked.append(question)
        return b""

    async with impostor(tmp_path, silent):
        siblings = Siblings(Handles(0), tmp_path, workers=2, timeout_s=0.01)
        assert await siblings.find("0" * 32 + "01", NOW_S) is None
        assert siblings._others[1]._streams is None
        siblings.close()
