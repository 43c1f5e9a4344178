"""The bounding machine visits at least what the tree walker visits."""

from __future__ import annotations

import json

import pytest

from policy.bounding import bounding
from policy.bundle import PolicyBundle
from policy.engines import EngineFault
from policy.engines.regorus import RegorusEngine
from policy.reason import Reason
from policy.syntax import Module, parse

HEAD = "package envoy.authz\n\nimport rego.v1\n\n"
HEAVY = "count([1 | some a in input.l; some b in input.l]) > 0"
LONG = json.dumps({"l": list(range(500)), "s": 1}).encode()


def rewritten(source: str) -> str:
    module = parse("p.rego", HEAD + source)
    assert isinstance(module, Module)
    return bounding([module])[0][1].removeprefix(HEAD)


def engine(source: str) -> RegorusEngine:
    return RegorusEngine.load(PolicyBundle.of({"p.rego": HEAD + source}, {}), "envoy/authz/allow")


@pytest.mark.parametrize(
    "source",
    [
        f"allow if input.s == 1\n\nallow if {{ {HEAVY} }}",
        f"allow if {{ {HEAVY} }}\n\nallow if input.s == 1",
        f"allow if f(input.s)\n\nf(x) if x == 1\n\nf(x) if {{ x; {HEAVY} }}",
        f"allow if o.a\n\no.a := true if input.s\n\no.b := true if {{ {HEAVY} }}",
        f"allow if s[1]\n\ns contains 1 if input.s\n\ns contains 2 if {{ {HEAVY} }}",
    ],
    ids=["rule", "rule-first", "function", "object", "set"],
)
async def test_no_definition_is_left_out_of_the_bound(source: str) -> None:
    with pytest.raises(EngineFault) as caught:
        await engine(source).evaluate(LONG)
    assert caught.value.reason is Reason.POLICY_TIMEOUT


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ('r["a"] := "x"', "x"),
        ('r["a"] := "x" # comment }', "x"),
        ("r.a := `raw`", "raw"),
        ('r["a"] := {"k": "v"}', {"k": "v"}),
        ('r["a"] := "v" if input.s == 1', "v"),
        ('r["a"] := "v" if "é" == "é"', "v"),
        ('r["a"] := "v" if not input.none', "v"),
        ('r["a"] := "v" if { input.s == 1 }', "v"),
        ('r["a"] := "v" if {\n\tinput.s == 1\n}', "v"),
        ('r[ "a" ] := 5 if "q" in {"q"}', 5),
        ("r.a if input.s", True),
    ],
)
async def test_a_constant_key_means_the_same(rule: str, value: object) -> None:
    loaded = engine(f"{rule}\n\nr.z := 1\n\nallow := r")
    assert await loaded.evaluate(b'{"s": 1}') == {"a": value, "z": 1}


async def test_a_member_that_is_undefined_is_left_out() -> None:
    loaded = engine("allow.a := input.none\n\nallow.b := 1")
    assert await loaded.evaluate(b"{}") == {"b": 1}


def test_lines_keep_their_numbers() -> None:
    source = 'r["a"] := 1\n\nallow := true if input.a\n\nallow := true if input.b'
    lines = rewritten(source).splitlines()
    assert lines[2] == "allow := true if input.a"
    assert lines[4] == "allow := true if input.b"


def test_one_definition_is_left_alone() -> None:
    source = "allow := true if input.a\n\nf(x) := x"
    assert rewritten(source) == source
