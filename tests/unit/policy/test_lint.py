"""What the engine would get wrong is refused at load; what a policy reads is known."""

from __future__ import annotations

import json

import pytest

from policy.bundle import PolicyBundle, PolicyError
from policy.loading import compile_engine

HEAD = "package envoy.authz\n\nimport rego.v1\n\n"


def problems(source: str, data: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        compile_engine(PolicyBundle.of({"p.rego": HEAD + source}, data or {}), "envoy/authz/allow")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("allow if http.send({})", 5, "`http.send`"),
        ("allow if nope(1)", 5, "`nope`"),
        ("allow if {\n\tnot walk(input, [])\n}", 6, "`walk`"),
        ('allow if strings.count("a", "") == 1', 5, "`strings.count`"),
        ("allow if numbers.range(1, input.n)[_] == 1", 5, "literal integers"),
        ("allow if numbers.range(1, 1000000)[_] == 1", 5, "literal integers"),
        ('allow if regex.match(input.p, "a")', 5, "pattern is a literal"),
        ('allow if regex.match("\\\\d", input.x)', 5, "[0-9]"),
        ('allow if regex.match("a++", input.x)', 5, "alike"),
        ('allow if regex.match("[a&&b]", input.x)', 5, "alike"),
        ('allow if glob.match("a", [":"], input.x)', 5, "delimiters"),
        ('allow if glob.match("a", input.d, input.x)', 5, "delimiters"),
        ('allow if indexof(input.x, "") == 0', 5, "not empty"),
        ('allow if replace(input.x, "a", input.y) == "b"', 5, "replacement"),
        ('allow if sprintf("%5d", [1]) == "b"', 5, "format"),
        ('allow if substring(input.x, input.n, 1) == "b"', 5, "offset"),
        ("allow if to_number(input.x) == 1", 5, "trim_space"),
        ("default allow := [x | x := 1]", 5, "constant"),
        ("allow := true\n\ndefault f(x) := 1", 7, "default function"),
        ("allow if input.a with input as {}", 5, "`with`"),
        ("a.b.c := 1\n\nallow := true", 5, "a head"),
        ("a.b contains 1\n\nallow := true", 5, "a head"),
        ("input := 1\n\nallow := true", 5, ""),
        ("allow contains 1", 0, "one value"),
        ("allow(x) := x", 0, "no rule gives"),
        ("other := 1", 0, "no rule gives"),
        ("allow if {", 5, ""),
        ("allow if { unknown_variable }", 5, "unsafe"),
        ("allow if { x in input.list; x > 1 }", 5, "unsafe"),
        ("allow if { not x }", 5, "unsafe"),
        ("allow := x", 5, "x"),
        ("allow if { _ in input.list }", 5, "_"),
        ("allow if allow", 5, "needs itself"),
        ("allow if data.envoy", 5, "needs itself"),
        ("allow := " + "[" * 15 + "]" * 15, 5, "nested"),
    ],
)
def test_refused_with_its_line(source: str, line: int, message: str) -> None:
    found = problems(source)
    assert any(
        (text.startswith(f"p.rego:{line}:") or line == 0) and message in text for text in found
    ), found


def test_every_problem_of_every_file_at_once() -> None:
    modules = {
        "a.rego": HEAD + "allow if http.send({})\n\nallow if walk(1, 2)",
        "b.rego": HEAD + "default x := [y | y := 1]",
        "c.rego": "package c\nx if {",
    }
    with pytest.raises(PolicyError) as caught:
        compile_engine(PolicyBundle.of(modules, {}), "envoy/authz/allow")
    where = [(problem.file, problem.line) for problem in caught.value.problems]
    assert where == [("a.rego", 5), ("a.rego", 7), ("b.rego", 5), ("c.rego", 2)]


@pytest.mark.parametrize(
    "data",
    [{"envoy": {"authz": {"allow": True}}}, {"envoy": {"authz": True}}, {"envoy": 1}],
)
def test_data_never_competes_with_a_rule(data: dict[str, object]) -> None:
    assert "data is" in problems("allow := false", data)[0]


def test_data_beside_a_rule_is_fine() -> None:
    bundle = PolicyBundle.of(
        {"p.rego": HEAD + "allow := data.envoy.authz.ok"}, {"envoy": {"authz": {"ok": True}}}
    )
    compile_engine(bundle, "envoy/authz/allow")


@pytest.mark.parametrize("decision", ["", "a//b", "a/b c", "a/b]", "../x", "a.b"])
def test_a_decision_is_a_path_of_names(decision: str) -> None:
    with pytest.raises(PolicyError, match="decision path"):
        compile_engine(PolicyBundle.of({"p.rego": HEAD + "allow := true"}, {}), decision)


def test_a_function_of_the_policy_hides_no_built_in_rule() -> None:
    source = HEAD + "import data.lib\n\nallow if lib.ok(1)"
    modules = {"p.rego": source, "lib.rego": "package lib\n\nimport rego.v1\n\nok(x) if x == 1"}
    compile_engine(PolicyBundle.of(modules, {}), "envoy/authz/allow")


@pytest.mark.parametrize("value", [True, False, {"allowed": False, "http_status": 404}])
async def test_a_default_alone_is_a_policy(value: object) -> None:
    for more in ("", "\nx if { some y in input.l; y }\n"):
        source = f"{HEAD}default allow := {json.dumps(value)}\n{more}"
        engine = compile_engine(PolicyBundle.of({"p.rego": source}, {}), "envoy/authz/allow")
        assert await engine.evaluate(b"{}") == value
