"""The views of the syntax tree."""

from __future__ import annotations

from policy.bundle import Problem
from policy.syntax import Module, head_of, parse, path_of, prefix_of, walk


def module(source: str) -> Module:
    parsed = parse("m.rego", "package a.b\n\nimport rego.v1\nimport data.lib.x as y\n" + source)
    assert isinstance(parsed, Module)
    return parsed


def test_a_module() -> None:
    parsed = module("import input.attributes\n\nallow := true")
    assert parsed.package == ("a", "b")
    assert parsed.aliases == {"y": ("data", "lib", "x"), "attributes": ("input", "attributes")}


def test_a_module_that_does_not_parse() -> None:
    problem = parse("m.rego", "package a\n\nallow if {")
    assert isinstance(problem, Problem)
    assert problem.line == 3


def test_heads() -> None:
    source = """
default d := 1
c := 1
f(x) := x
s contains 1
o[k] := 1 if k := "a"
o.b := 2
p.q.r := 3
"""
    heads = [head_of(rule)[:2] for rule in module(source).rules]
    assert heads == [
        (("d",), "default"),
        (("c",), "complete"),
        (("f",), "function"),
        (("s",), "set"),
        (("o",), "object"),
        (("o", "b"), "object"),
        (("p", "q", "r"), "object"),
    ]


def test_paths() -> None:
    rule = module('r := input.a["b"][data.k].c').rules[0]
    node = rule["Spec"]["head"]["Compr"]["assign"]["value"]
    assert path_of(node) is None
    assert prefix_of(node) == (("input", "a", "b"), False)


def test_walk_reaches_every_call() -> None:
    rule = module("r if { every x in f(1) { not g(h(x)) }; [1 | i(2)] }").rules[0]
    calls = {path_of(content["fcn"]) for kind, content in walk(rule) if kind == "Call"}
    assert calls == {("f",), ("g",), ("h",), ("i",)}
