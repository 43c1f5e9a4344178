"""The embedded engine: two evaluators that must agree, and every way in which it fails."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from policy import lint
from policy.bundle import PolicyBundle
from policy.engines import UNDEFINED, EngineFault, InlineEngine
from policy.engines.regorus import RegorusEngine
from policy.reason import Reason

HEAD = "package envoy.authz\n\nimport rego.v1\n\n"
DRILL = Path(__file__).parents[3] / "fixtures" / "drill"
DECISION = "envoy/authz/allow"


def load(source: str) -> RegorusEngine:
    return RegorusEngine.load(PolicyBundle.of({"p.rego": HEAD + source}, {}), DECISION)


def drill(header: str) -> bytes:
    headers = {"x-drill": header}
    return json.dumps({"attributes": {"request": {"http": {"headers": headers}}}}).encode()


def unlinted(source: str) -> RegorusEngine:
    spec = importlib.util.spec_from_file_location("unlinted", DRILL / "unlinted.py")
    if spec is None or spec.loader is None:
        raise AssertionError("the drill fixture is missing")
    loader: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    engine = loader.load_unlinted(PolicyBundle.of({"p.rego": source}, {}), DECISION)
    assert isinstance(engine, RegorusEngine)
    return engine


async def fault(engine: RegorusEngine, document: bytes) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        await engine.evaluate(document)
    return caught.value


async def test_answers() -> None:
    engine = load("allow := input.x")
    assert await engine.evaluate(b'{"x": true}') is True
    assert await engine.evaluate(b'{"x": {"a": [1, null]}}') == {"a": [1, None]}
    assert await engine.evaluate(b"{}") is UNDEFINED
    assert isinstance(engine, InlineEngine)
    await engine.close()


async def test_nothing_of_one_input_stays_for_the_next() -> None:
    engine = load("allow if input.x == 1")
    assert await engine.evaluate(b'{"x": 1}') is True
    assert await engine.evaluate(b'{"y": 1}') is UNDEFINED


async def test_what_the_machine_alone_would_allow_is_not_allowed() -> None:
    """The machine goes on after an undefined assignment; the walker and OPA stop."""
    engine = load("allow if user := input.user\n\nallow if { some x in input.l; x == 2 }")
    assert await engine.evaluate(b'{"user": "alice"}') is True
    assert (await fault(engine, b"{}")).reason is Reason.POLICY_DISAGREED


async def test_a_policy_that_cannot_loop_needs_no_bound() -> None:
    engine = load("allow if user := input.user")
    assert await engine.evaluate(b'{"user": "alice"}') is True
    assert await engine.evaluate(b"{}") is UNDEFINED


@pytest.mark.parametrize(
    ("source", "straight"),
    [
        ('allow if input.a == "b"', True),
        ('allow if { "x" in input.list; not input.b; count(input.c) > 1 }', True),
        ('allow := {"allowed": true} if input.m["k"][0]', True),
        ("allow if { some x in input.list; x }", False),
        ("allow if { some i; input.list[i] }", False),
        ("allow if input.list[_]", False),
        ("allow if { every x in input.list { x } }", False),
        ("allow if count([x | some x in input.list]) > 1", False),
        ("allow if count({x | some x in input.list}) > 1", False),
        ("allow if count({x: 1 | some x in input.list}) > 1", False),
        ("allow if f(input.a)\n\nf(x) if x", False),
        ("allow if input[input.name]", False),
        ("allow if { some k, v in input.o; k == v }", False),
        ("allow if { i := 0; input.list[i] }", False),
        ("allow if input.list[x] == 1", False),
        ("allow if { [x, 1] = input.list[_] }", False),
        ("allow if data.users[input.name]", False),
        ("allow if data.lib[x].ok", False),
        ("allow if deny[x]\n\ndeny contains 1 if input.a", False),
        ("o[k] := 1 if { k := input.a }\n\nallow if o.x", False),
        ("allow if { input[[1, 2]] }", False),
        ("allow if count([1 | input.list[_]]) > 1", False),
        ("allow if not input.list[_]", False),
        ("allow if f(f(input.a))\n\nf(x) := x", False),
        ("allow if abs(numbers.range(1, 5)[_]) == 1", False),
        ("allow if { [x, 1] = input.list; x }", True),
        ("deny contains 1 if input.a\n\nallow if deny[1]", True),
        ("allow if { 0, 1 in input.list }", True),
        ("o.a := 1\n\nallow if o.a", True),
        ("allow if data.lib.ok", True),
        ("allow if { false } else := 1 if { input.a }", True),
    ],
)
def test_only_forms_that_cannot_loop_are_straight(source: str, straight: bool) -> None:
    text = f"package envoy.authz\n\nimport rego.v1\n\n{source}\n"
    modules, problems = lint.read_modules(PolicyBundle.of({"a.rego": text}, {}))
    assert not problems
    assert lint.straight(modules) is straight


@pytest.mark.parametrize(
    "source",
    [
        'allow if { user := input.user; not user in {"mallory"} }',
        'allow if { x := {"user": input.user}; not x.user == "mallory" }',
        'allow if { x := {input.user}; not "mallory" in x }',
    ],
)
async def test_an_undefined_assignment_is_undefined(source: str) -> None:
    engine = load(source)
    assert await engine.evaluate(b'{"user": "alice"}') is True
    assert await engine.evaluate(b"{}") is UNDEFINED


async def test_a_conflict_is_no_answer() -> None:
    engine = load("allow := true if input.a\n\nallow := false if input.b")
    assert await engine.evaluate(b'{"a": 1}') is True
    assert await engine.evaluate(b'{"b": 1}') is False
    assert (await fault(engine, b'{"a": 1, "b": 1}')).reason is Reason.POLICY_ERROR


async def test_the_drills_that_the_lint_lets_through() -> None:
    source = (DRILL / "authz.rego").read_text()
    engine = RegorusEngine.load(PolicyBundle.of({"authz.rego": source}, {}), DECISION)
    error = await fault(engine, drill("error"))
    assert error.reason is Reason.POLICY_ERROR
    assert error.detail.startswith("authz.rego:16: ")
    assert (await fault(engine, drill("hang"))).reason is Reason.POLICY_TIMEOUT
    assert await engine.evaluate(drill("none")) is True
    assert await engine.evaluate(drill("other")) is False


async def test_a_panic_is_a_crash_and_the_engine_lives_on() -> None:
    engine = unlinted((DRILL / "panic.rego").read_text())
    for _ in range(3):
        assert (await fault(engine, drill("panic"))).reason is Reason.POLICY_CRASHED
        assert await engine.evaluate(drill("none")) is True


async def test_an_input_on_which_a_function_is_inexact() -> None:
    engine = load("allow if count(input.x) == 2")
    assert await engine.evaluate('{"x": "éé"}'.encode()) is True
    assert (await fault(engine, '{"x": "😀"}'.encode())).reason is Reason.POLICY_ERROR


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_cancellation_and_exit_pass_through(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load("allow := true")

    class Interrupted:
        def set_input_json(self, text: str) -> None:
            raise error

    monkeypatch.setattr(engine, "_machine", Interrupted())
    with pytest.raises(error):
        engine.evaluate(b"{}").send(None)
    assert await engine.evaluate(b"{}") is True


async def test_an_input_that_is_no_json_is_an_error() -> None:
    assert (await fault(load("allow := true"), b"{")).reason is Reason.POLICY_ERROR


async def test_numbers_and_booleans_are_not_confused() -> None:
    engine = load("allow := input.x")
    assert await engine.evaluate(b'{"x": 1}') == 1
    assert await engine.evaluate(b'{"x": 1}') is not True
