"""From a bundle to an engine: an inline one, or every problem at once."""

from __future__ import annotations

import pytest

from policy.bundle import PolicyBundle, PolicyError
from policy.engines import InlineEngine
from policy.loading import compile_engine

ALLOW = "package envoy.authz\n\nimport rego.v1\n\nallow if input.x == 1\n"


async def test_a_policy_becomes_an_inline_engine() -> None:
    engine = compile_engine(PolicyBundle.of({"a.rego": ALLOW}, {}), "envoy/authz/allow")
    assert isinstance(engine, InlineEngine)
    assert engine.answer(b'{"x": 1}') is True
    await engine.close()


def test_every_problem_is_named() -> None:
    modules = {"a.rego": ALLOW + "\nx := walk(1)\n", "b.rego": "package b\n\nnot rego\n"}
    with pytest.raises(PolicyError) as caught:
        compile_engine(PolicyBundle.of(modules, {}), "envoy/authz/allow")
    assert {problem.file for problem in caught.value.problems} == {"a.rego", "b.rego"}
