"""Every engine gives the same answers; the embedded one may refuse or fail, never guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from policy import engines
from policy.bundle import PolicyBundle, PolicyError
from policy.engines import EngineFault
from policy.engines.opa import OpaEngine
from policy.input import EVERYTHING, Needs
from policy.loading import compile_engine
from policy.reason import Reason
from tests.conformance.cases import CASES, ERROR, REFUSED, UNDEFINED, Case
from tests.conformance.opa_process import running

DECISION = "envoy/authz/allow"
HEAD = "package envoy.authz\n\nimport rego.v1\n\n"


def bundle(case: Case) -> PolicyBundle:
    return PolicyBundle.of({"p.rego": HEAD + case.rules}, case.data)


def same(answer: object, expected: object) -> bool:
    option = orjson.OPT_SORT_KEYS
    return orjson.dumps(answer, option=option) == orjson.dumps(expected, option=option)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_embedded(case: Case) -> None:
    if case.embedded == REFUSED:
        with pytest.raises(PolicyError):
            compile_engine(bundle(case), DECISION)
        return
    engine = compile_engine(bundle(case), DECISION)
    expected = "policy_error" if case.answer is ERROR else case.embedded
    if expected is not None:
        with pytest.raises(EngineFault) as caught:
            await engine.evaluate(orjson.dumps(case.document))
        assert caught.value.reason.label == expected
        return
    answer = await engine.evaluate(orjson.dumps(case.document))
    if case.answer is UNDEFINED:
        assert answer is engines.UNDEFINED
    else:
        assert same(answer, case.answer), answer


async def test_opa(opa_socket: Path) -> None:
    """One OPA for the whole table: starting it costs more than all of the cases."""
    wrong: list[tuple[str, Any]] = []
    for case in CASES:
        engine = OpaEngine(f"unix:{opa_socket}", DECISION, timeout_s=10)
        await engine.load(bundle(case))
        answer: object
        try:
            answer = await engine.evaluate(orjson.dumps(case.document))
        except EngineFault as fault:
            good = case.answer is ERROR and fault.reason is Reason.POLICY_ERROR
            answer = fault.reason.label
        else:
            undefined = case.answer is UNDEFINED
            good = answer is engines.UNDEFINED if undefined else same(answer, case.answer)
        if not good:
            wrong.append((case.name, answer))
        await engine.close()
    assert wrong == []


async def test_opa_refuses_with_lines(opa_socket: Path) -> None:
    engine = OpaEngine(f"unix:{opa_socket}", DECISION, timeout_s=10)
    with pytest.raises(PolicyError, match=r"p\.rego:5: .*nope"):
        await engine.load(PolicyBundle.of({"p.rego": HEAD + "allow if nope(1)"}, {}))
    await engine.close()


async def test_opa_knows_what_a_loaded_policy_reads(opa_socket: Path) -> None:
    engine = OpaEngine(f"unix:{opa_socket}", DECISION, timeout_s=10)
    assert engine.needs == EVERYTHING
    await engine.load(PolicyBundle.of({"p.rego": HEAD + "allow if input.parsed_path"}, {}))
    assert engine.needs == Needs(path=True)
    await engine.close()


async def test_opa_forgets_an_earlier_bundle(opa_socket: Path) -> None:
    engine = OpaEngine(f"unix:{opa_socket}", DECISION, timeout_s=10)
    await engine.load(PolicyBundle.of({"old/p.rego": HEAD + "allow := true"}, {}))
    await engine.load(PolicyBundle.of({"new/p.rego": HEAD + "allow := false"}, {}))
    assert await engine.evaluate(json.dumps({}).encode()) is False
    await engine.close()


async def test_a_killed_opa_is_unavailable(opa_binary: Path, tmp_path: Path) -> None:
    async with running(opa_binary, tmp_path / "opa.sock") as process:
        engine = OpaEngine(f"unix:{tmp_path / 'opa.sock'}", DECISION, timeout_s=10)
        await engine.load(PolicyBundle.of({"p.rego": HEAD + "allow := true"}, {}))
        assert await engine.evaluate(b"{}") is True
        process.kill()
        await process.wait()
        with pytest.raises(EngineFault) as caught:
            await engine.evaluate(b"{}")
        assert caught.value.reason is Reason.POLICY_UNAVAILABLE
        await engine.close()
