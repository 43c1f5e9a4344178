"""How the OPA engine reads answers and fails; a scripted server stands in for a broken OPA.

The real OPA answers in tests/conformance/test_engines.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from policy.bundle import PolicyBundle
from policy.engines import UNDEFINED, EngineFault
from policy.engines.opa import OpaEngine
from policy.engines.opa_rest import ANSWER_BYTES_MAX
from policy.input import EVERYTHING, Needs
from policy.reason import Reason

DECISION = "envoy/authz/allow"


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def server(socket: Path, answer: bytes | None) -> AsyncIterator[list[bytes]]:
    """Answers every request with `answer`, or never; yields what was asked."""
    asked: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                asked.append(head + await reader.readexactly(size))
                if answer is not None:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listener = await asyncio.start_unix_server(serve, str(socket))
    try:
        yield asked
    finally:
        listener.close()
        for writer in writers:
            writer.close()
        await listener.wait_closed()


async def ask(socket: Path, answer: bytes | None, timeout_s: float = 5) -> object:
    async with server(socket, answer):
        engine = OpaEngine(f"unix:{socket}", DECISION, timeout_s=timeout_s)
        try:
            return await engine.evaluate(b'{"a":1}')
        finally:
            await engine.close()


async def fault(socket: Path, answer: bytes | None, timeout_s: float = 5) -> Reason:
    with pytest.raises(EngineFault) as caught:
        await ask(socket, answer, timeout_s)
    return caught.value.reason


async def test_the_question(tmp_path: Path) -> None:
    async with server(tmp_path / "s", reply(b'{"result": true}')) as asked:
        engine = OpaEngine(f"unix:{tmp_path / 's'}", DECISION, timeout_s=5)
        assert await engine.evaluate(b'{"a":1}') is True
        assert asked[0].startswith(b"POST /v1/data/envoy/authz/allow HTTP/1.1\r\n")
        assert asked[0].endswith(b'\r\n\r\n{"input":{"a":1}}')
        await engine.close()


async def test_answers(tmp_path: Path) -> None:
    assert await ask(tmp_path / "a", reply(b'{"result": {"allowed": false}}')) == {"allowed": False}
    assert await ask(tmp_path / "b", reply(b"{}")) is UNDEFINED
    assert await ask(tmp_path / "c", reply(b'{"result": null}')) is None
    assert await ask(tmp_path / "d", reply(b'{"warning": {}}')) is UNDEFINED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(b""), Reason.POLICY_MALFORMED),
        (reply(b"true"), Reason.POLICY_MALFORMED),
        (reply(b"[]"), Reason.POLICY_MALFORMED),
        (reply(b'{"result": '), Reason.POLICY_MALFORMED),
        (reply(b"x" * (ANSWER_BYTES_MAX + 1)), Reason.POLICY_MALFORMED),
        (reply(b'{"result": true}', "500 Error"), Reason.POLICY_ERROR),
        (reply(b'{"result": true}', "400 Bad"), Reason.POLICY_ERROR),
        (reply(b'{"result": true}', "201 Made"), Reason.POLICY_UNAVAILABLE),
        (reply(b'{"result": true}', "401 No"), Reason.POLICY_UNAVAILABLE),
        (reply(b'{"result": true}', "503 No"), Reason.POLICY_UNAVAILABLE),
        (b"nonsense\r\n\r\n", Reason.POLICY_UNAVAILABLE),
    ],
)
async def test_nonsense_is_no_answer(tmp_path: Path, answer: bytes, reason: Reason) -> None:
    assert await fault(tmp_path / "s", answer) is reason


async def test_no_redirect_is_followed(tmp_path: Path) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    assert await fault(tmp_path / "s", moved) is Reason.POLICY_UNAVAILABLE


async def test_a_slow_opa_times_out(tmp_path: Path) -> None:
    assert await fault(tmp_path / "s", None, timeout_s=0.05) is Reason.POLICY_TIMEOUT


async def test_no_opa_is_unavailable(tmp_path: Path) -> None:
    engine = OpaEngine(f"unix:{tmp_path / 'none'}", DECISION)
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(b"{}")
    assert caught.value.reason is Reason.POLICY_UNAVAILABLE
    with pytest.raises(EngineFault):
        await engine.load(PolicyBundle.of({"a.rego": "package a"}, {}))
    await engine.close()


async def test_a_closed_engine_is_unavailable(tmp_path: Path) -> None:
    engine = OpaEngine(f"unix:{tmp_path / 'none'}", DECISION)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(b"{}")
    assert caught.value.reason is Reason.POLICY_UNAVAILABLE


@pytest.mark.parametrize(
    "address",
    ["", "unix:", "https://127.0.0.1:1", "http://opa.example:8181", "http://127.0.0.1:1/x", "/a"],
)
def test_an_address_is_on_this_host(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        OpaEngine(address, DECISION)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="decision"):
        OpaEngine("unix:/a", "../config")
    with pytest.raises(ValueError, match="positive"):
        OpaEngine("unix:/a", DECISION, timeout_s=0)


def test_needs() -> None:
    assert OpaEngine("unix:/a", DECISION).needs == EVERYTHING
    assert OpaEngine("http://[::1]:1", DECISION, needs=Needs(query=True)).needs == Needs(query=True)


def test_the_client_is_loaded_lazily() -> None:
    program = "import sys, policy.engines.opa; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
