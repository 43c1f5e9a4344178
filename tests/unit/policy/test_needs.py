"""A policy is shown everything it reads, however it reads it."""

from __future__ import annotations

import pytest

from policy import lint
from policy.bundle import PolicyBundle
from policy.input import CLAIMS, EVERYTHING, FACTS, Needs
from policy.needs import needs

HEAD = "package envoy.authz\n\nimport rego.v1\n\n"
HTTP = "input.attributes.request.http"
PATHS = {
    "source": "attributes.source.principal",
    "destination": "attributes.destination.principal",
    "id": "attributes.request.http.id",
    "method": "attributes.request.http.method",
    "target": "attributes.request.http.path",
    "protocol": "attributes.request.http.protocol",
    "host": "attributes.request.http.host",
    "size": "attributes.request.http.size",
    "metadata": "attributes.metadataContext",
    "version": "version",
    "gate": "narrowgate.gate",
    "identity": "narrowgate.identity",
    "onward": "narrowgate.destination",
    "context": "narrowgate.context",
    "posture": "narrowgate.posture",
    **{claim: f"narrowgate.token.{claim}" for claim in CLAIMS},
}


def read(source: str, head: str = HEAD) -> Needs:
    modules, problems = lint.read_modules(PolicyBundle.of({"p.rego": head + source}, {}))
    assert not problems
    return needs(modules)


def facts(*names: str) -> frozenset[str]:
    return frozenset(names)


IN_HTTP = facts("id", "method", "target", "protocol", "host", "size")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("allow := true", Needs()),
        (f'allow if {HTTP}.headers["x-a"] == "1"', Needs(headers=frozenset({"x-a"}))),
        (f"allow if {HTTP}.headers.authorization", Needs(headers=frozenset({"authorization"}))),
        (
            f'allow if object.get({HTTP}.headers, "x-a", "") == ""',
            Needs(headers=frozenset({"x-a"})),
        ),
        (f'allow if object.get({HTTP}.headers, data.k, "") == ""', Needs(headers=None)),
        (f"allow if {HTTP}.headers[_] == 1", Needs(headers=None)),
        (f"allow if {{ h := {HTTP}; h.x }}", Needs(headers=None, raw_body=True, facts=IN_HTTP)),
        (f'allow if {HTTP}.method == "GET"', Needs(facts=facts("method"))),
        ("allow if input.parsed_path[0]", Needs(path=True)),
        ("allow if input.parsed_query.a[0]", Needs(query=True)),
        ("allow if input.parsed_body.a", Needs(parsed_body=True)),
        ("allow if not input.truncated_body", Needs(truncated=True)),
        (f"allow if {HTTP}.body", Needs(raw_body=True)),
        ("allow if input.narrowgate.token.scope[_]", Needs(token=True, facts=facts("scope"))),
        ("allow if input.narrowgate.token", Needs(token=True, facts=frozenset(CLAIMS))),
        ("allow if not input.narrowgate.token.nope", Needs(token=True)),
        ("allow if input.attributes.request.time", Needs(time=True)),
        ("allow if input.attributes.source.address", Needs(addresses=True)),
        ("allow if input.attributes.source.principal", Needs(facts=facts("source"))),
        ("allow if input.attributes.source", Needs(addresses=True, facts=facts("source"))),
        ("allow if data.x[input.parsed_path[0]]", Needs(path=True)),
        ("allow := [y | y := input.parsed_query][0]", Needs(query=True)),
        ("f(x) := input.parsed_path[x]\n\nallow if f(0)", Needs(path=True)),
    ],
)
def test_needs(source: str, expected: Needs) -> None:
    assert read(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "allow if { x := input; x.y }",
        "allow if input[data.k]",
        "allow if input[_]",
        "allow if { some x in input; x }",
        "allow if { some k, v in input; k == v }",
        "allow if { every k, v in input { k != v } }",
        "allow if { some k; input[k] == 1 }",
        "allow if count(input) == 0",
        'allow if "normal" in input',
        "allow if f(input)\n\nf(x) if x.version",
        'allow if { {"version": v} = input; v }',
        'allow if object.get(input, ["version", "x"], 1) == 1',
        "allow if object.get(input, data.k, 1) == 1",
        'allow if object.get({"a": input}, "a", 1) == 1',
        'allow if object.get(data, "a", input) == 1',
        "allow if { x = input }",
        "allow := {k: v | some k, v in input}",
        "o[k] := input[k] if { some k in data.keys }\n\nallow if o.x",
        "s contains input\n\nallow if s",
        "default allow := false\n\nallow if { false } else := input",
        "allow if not input == {}",
        "allow if -count(input) < 0",
        "import input as i\n\nallow if i[data.k]",
        "import input\n\nallow if input[data.k]",
    ],
)
def test_a_whole_input_is_everything(source: str) -> None:
    assert read(source) == EVERYTHING


def test_every_fact_has_its_place_here() -> None:
    assert PATHS.keys() == FACTS


def ways(path: str) -> list[str]:
    """Policies that read `path` in every way there is."""
    *parents, last = f"input.{path}".split(".")
    parent = ".".join(parents)
    ways = [
        f"allow if input.{path}",
        f"allow if {parent}[{last!r}]".replace("'", '"'),
        f"allow if {parent}[`{last}`]",
        f"allow if input.{path}.deeper[0]",
        f"allow if input.{path}[_]",
        f"allow if not input.{path}",
        f"allow if {{ x := {parent}; x.y }}",
        f"allow if {parent}[data.k]",
        f"allow if {{ some k; {parent}[k] == 1 }}",
        f"allow if {{ some v in {parent}; v }}",
        f"allow if {{ every k, v in {parent} {{ k != v }} }}",
        f'allow if object.get({parent}, "{last}", 1) == 1',
        f"allow if object.get({parent}, `{last}`, 1) == 1",
        f'allow if object.get({parent}, ["{last}"], 1) == 1',
        f"allow if object.get({parent}, data.k, 1) == 1",
        f'allow if object.get(data, "k", input.{path}) == 1',
        f"allow if data.k[input.{path}].x[0]",
        f"allow if data.k[object.get({parent}, `{last}`, 1)]",
        f"allow := [x | x := input.{path}]",
        f"allow := {{x | x := input.{path}}}",
        f"allow := {{input.{path}: 1}}",
        f"allow if f(input.{path})\n\nf(x) if x",
        f"f(x) if input.{path} == x\n\nallow if f(1)",
        f"s contains input.{path}\n\nallow if s",
        f"o[input.{path}] := 1\n\nallow if o",
        f"allow if {{ false }} else := input.{path}",
        f"allow if {{ [x, 1] = [input.{path}, 1]; x }}",
        f"allow if 1 + input.{path} == 2",
        f"import input.{path}\n\nallow if {last}",
        f"import input.{path} as it\n\nallow if it.x",
        f"import input.{path} as it\n\nallow if data.k[it]",
    ]
    if len(parents) > 1:
        ways += [
            f"import {parent} as up\n\nallow if up.{last}",
            f'import {parent} as up\n\nallow if object.get(up, "{last}", 1) == 1',
            f"import {parent} as up\n\nallow if up[data.k]",
        ]
    return ways


@pytest.mark.parametrize("fact", sorted(PATHS))
def test_a_fact_is_shown_in_whichever_way_it_is_read(fact: str) -> None:
    for source in ways(PATHS[fact]):
        found = read(source)
        assert fact in found.facts, source
        assert found.token or fact not in CLAIMS, source


def test_a_fact_alone_brings_no_other() -> None:
    for fact, path in PATHS.items():
        assert read(f"allow if input.{path}").facts == {fact}


def test_an_escaped_name_is_the_name() -> None:
    assert read('allow if input["versi\\u006fn"]').facts == {"version"}


def test_an_alias_named_input_hides_nothing() -> None:
    assert read("import data.foo as input\n\nallow if input.version").facts == {"version"}


def test_another_module_counts() -> None:
    modules = {
        "p.rego": HEAD + "import data.lib\n\nallow if lib.ok",
        "l.rego": "package lib\n\nimport rego.v1\n\nok if input.version",
    }
    parsed, _ = lint.read_modules(PolicyBundle.of(modules, {}))
    assert needs(parsed).facts == {"version"}


def test_needs_follow_an_import() -> None:
    found = read("import input.attributes.request.http as r\n\nallow if r.headers.a")
    assert found == Needs(headers=frozenset({"a"}))
