"""Rules that need themselves never reach an evaluator."""

from __future__ import annotations

import pytest

from policy import lint
from policy.bundle import PolicyBundle
from policy.depth import DEPTH_MAX, recursion

HEAD = "package p\n\nimport rego.v1\n\n"
LIB = "package lib\n\nimport rego.v1\n\n"


def found(source: str, lib: str = "") -> list[str]:
    bundle = PolicyBundle.of({"p.rego": HEAD + source, "lib.rego": LIB + lib}, {})
    modules, problems = lint.read_modules(bundle)
    assert not problems
    return sorted({str(problem) for problem in recursion(modules)})


@pytest.mark.parametrize(
    ("source", "lib"),
    [
        ("a if a", ""),
        ("a if not a", ""),
        ("a if b\n\nb if a", ""),
        ("a if data.p", ""),
        ("a if data", ""),
        ("a if data.p[input.x]", ""),
        ("a if data[input.x]", ""),
        ("a if object.get(data.p, `b`, 1)", ""),
        ("a := data.lib", "b := data.p.a"),
        ("import data.lib\n\na := lib", "import data.p as q\n\nb := q.a"),
        ("f(x) := f(x - 1)", ""),
        ("f(x) := y if { y := g(x) }\n\ng(x) := f(x)", ""),
        ("s contains x if { some x in s }", ""),
        ("o[k] := 1 if { some k in input; o[k] }", ""),
        ("o[a] := 1\n\na if o.x", ""),
        ("o.a := 1\n\no.b := o.a", ""),
        ("a if { false } else := a", ""),
        ("a := [x | x := a]", ""),
    ],
)
def test_a_rule_that_needs_itself(source: str, lib: str) -> None:
    assert any("needs itself" in problem for problem in found(source, lib))


@pytest.mark.parametrize(
    ("source", "lib"),
    [
        ("a if input.a", ""),
        ("a if input.p.a", ""),
        ("a := data.lib", "b := 1"),
        ("a if { b := 1; b }\n\nb if a", ""),
        ("f(a) := a\n\na := f(1)", ""),
        ("a if { some b in [1]; b }\n\nb if a", ""),
        ("a if { some b; [1][b] }\n\nb if a", ""),
        ("a if { every b in [1] { b } }\n\nb if a", ""),
        ("default a := false\n\na if b\n\nb if c\n\nc if input.c", ""),
        ("a if count(input.x)\n\ncount := 1", ""),
    ],
)
def test_rules_that_do_not(source: str, lib: str) -> None:
    assert found(source, lib) == []


def test_a_chain_has_an_end() -> None:
    def chain(length: int) -> str:
        return "\n\n".join(["a0 := 1", *(f"a{n} := a{n - 1}" for n in range(1, length))])

    assert found(chain(DEPTH_MAX)) == []
    assert found(chain(DEPTH_MAX + 1)) == [
        f"p.rego:{5 + 2 * DEPTH_MAX}: the rule `p.a{DEPTH_MAX}` is over {DEPTH_MAX} rules deep"
    ]
    assert found(chain(5000))
