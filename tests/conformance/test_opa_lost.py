"""An OPA that was killed, emptied or given another policy never answers with half of ours.

All of it against a real OPA: what it does between two writes is what matters here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from policy.bundle import PolicyBundle, PolicyError
from policy.engines import UNDEFINED, EngineFault, opa
from policy.engines.opa import OpaEngine
from policy.engines.opa_rest import OpaRest
from policy.reason import Reason
from tests.conformance.opa_process import running

DECISION = "envoy/authz/allow"
OUTBOUND = "narrowgate/outbound/allow"
HEAD = "package envoy.authz\n\nimport rego.v1\n\n"
YES = PolicyBundle.of({"p.rego": HEAD + "allow if input.a == 1\n"}, {})
NO = PolicyBundle.of({"q.rego": HEAD + "allow := false\n"}, {})
BAD = PolicyBundle.of({"p.rego": HEAD + "allow := true\n", "r.rego": HEAD + "allow if nope(1)"}, {})
QUESTION = b'{"a":1}'


class Opa:
    """An OPA process at one socket that can be killed and started again."""

    def __init__(self, binary: Path, socket: Path) -> None:
        self._binary = binary
        self._socket = socket
        self._exit = AsyncExitStack()
        self.address = f"unix:{socket}"

    async def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        await self._exit.enter_async_context(running(self._binary, self._socket))

    async def kill(self) -> None:
        await self._exit.aclose()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    def engine(self, decision: str = DECISION, *, writes: bool = True) -> OpaEngine:
        return OpaEngine(self.address, decision, timeout_s=30, writes=writes)


@pytest.fixture
async def server(opa_binary: Path, tmp_path: Path) -> AsyncIterator[Opa]:
    made = Opa(opa_binary, tmp_path / "opa.sock")
    await made.start()
    yield made
    await made.kill()


async def fault(engine: OpaEngine) -> Reason:
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(QUESTION)
    return caught.value.reason


async def test_a_restarted_opa_is_given_the_policy_again(server: Opa) -> None:
    engine = server.engine()
    await engine.load(YES)
    assert await engine.evaluate(QUESTION) is True
    await server.kill()
    assert await fault(engine) is Reason.POLICY_UNAVAILABLE
    await server.start()
    assert await engine.evaluate(QUESTION) is True
    assert await engine.evaluate(b"{}") is UNDEFINED
    await engine.close()


async def test_an_opa_that_was_restarted_between_two_decisions(server: Opa) -> None:
    engine, other = server.engine(), server.engine(OUTBOUND)
    for one in (engine, other):
        await one.load(YES)
    await server.restart()
    for one, expected in ((engine, True), (other, UNDEFINED)):
        with suppress(EngineFault):  # of the connection that broke, if it was not noticed before
            assert await one.evaluate(QUESTION) is expected
        assert await one.evaluate(QUESTION) is expected
    for one in (engine, other):
        await one.close()


async def test_an_emptied_opa_is_noticed_before_it_answers(server: Opa) -> None:
    engine, rest = server.engine(), OpaRest(server.address)
    await engine.load(YES)
    for name in await rest.policies():
        await rest.delete_policy(name)
    assert await engine.evaluate(QUESTION) is True
    assert await engine.evaluate(b"{}") is UNDEFINED
    for one in (engine, rest):
        await one.close()


async def test_one_attempt_at_a_time(server: Opa, caplog: pytest.LogCaptureFixture) -> None:
    engine, rest = server.engine(), OpaRest(server.address)
    await engine.load(YES)
    for name in await rest.policies():
        await rest.delete_policy(name)
    with caplog.at_level(logging.INFO, "narrowgate.policy"):
        answers = await asyncio.gather(*(engine.evaluate(QUESTION) for _ in range(20)))
    assert answers == [True] * 20
    assert len(caplog.records) == 1
    for one in (engine, rest):
        await one.close()


async def test_and_only_one_in_a_while(server: Opa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opa, "RELOAD_S", 3600.0)
    engine = server.engine()
    await engine.load(YES)
    await server.kill()
    assert await fault(engine) is Reason.POLICY_UNAVAILABLE
    assert await fault(engine) is Reason.POLICY_UNAVAILABLE  # the attempt, in vain
    await server.start()
    assert await fault(engine) is Reason.POLICY_UNAVAILABLE
    await engine.close()


async def test_a_refused_policy_changes_nothing(server: Opa) -> None:
    """Half of the refused one is in OPA, and its half would say yes."""
    engine, new = server.engine(), server.engine()
    await engine.load(NO)
    with pytest.raises(PolicyError, match="nope"):
        await new.load(BAD)
    assert await engine.evaluate(QUESTION) is False
    for one in (engine, new):
        await one.close()


async def test_an_older_engine_does_not_take_opa_back(
    server: Opa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opa, "RELOAD_S", 0.0)
    old, new = server.engine(), server.engine()
    await old.load(YES)
    await new.load(NO)
    assert await fault(old) is Reason.POLICY_UNAVAILABLE
    assert await new.evaluate(QUESTION) is False
    await new.close()
    assert await old.evaluate(QUESTION) is True
    await old.close()


async def test_modules_may_need_each_other_in_any_order(server: Opa) -> None:
    lib = "package lib\n\nimport rego.v1\n\none(x) := x == 1\n"
    caller = HEAD + "allow if data.lib.one(input.a)\n"
    engine = server.engine()
    for files in ({"a.rego": caller, "b.rego": lib}, {"a.rego": lib, "b.rego": caller}):
        await engine.load(PolicyBundle.of(files, {}))
        assert await engine.evaluate(QUESTION) is True
    await engine.close()


async def test_data_of_an_earlier_policy_is_gone(server: Opa) -> None:
    rule = HEAD + 'allow if "alice" in data.shop.friends\n'
    engine = server.engine()
    await engine.load(PolicyBundle.of({"p.rego": rule}, {"shop": {"friends": ["alice"]}}))
    assert await engine.evaluate(b"{}") is True
    await engine.load(PolicyBundle.of({"p.rego": rule}, {}))
    assert await engine.evaluate(b"{}") is UNDEFINED
    await engine.close()


async def test_a_second_worker_waits_for_the_first(server: Opa) -> None:
    first, second = server.engine(), server.engine(writes=False)
    waiting = asyncio.create_task(second.load(YES))
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.load(YES)
    await waiting
    assert await second.evaluate(QUESTION) is True
    for one in (first, second):
        await one.close()
