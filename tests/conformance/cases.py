"""Policies in the style of OPA-Envoy with the answer OPA gives, for every engine alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

UNDEFINED = "undefined!"
ERROR = "error!"
REFUSED = "refused!"

HTTP: dict[str, Any] = {
    "attributes": {
        "source": {"principal": "spiffe://shop.example/ns/shop/sa/frontend"},
        "request": {
            "time": "2026-01-02T03:04:05.000000Z",
            "http": {
                "method": "GET",
                "path": "/orders/7?page=2&tag=a&tag=b",
                "host": "orders",
                "headers": {"x-a": "1", "authorization": "Bearer aGk.eyJzdWIiOiJhIn0.c2ln"},
            },
        },
    },
    "parsed_path": ["orders", "7"],
    "parsed_query": {"page": ["2"], "tag": ["a", "b"]},
    "parsed_body": {"items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], "total": 3},
    "narrowgate": {"token": {"scope": ["orders:read"]}, "posture": "normal"},
}


class Case(NamedTuple):
    """A policy (its rules only), and OPA's answer; `embedded` where ours may differ loudly."""

    name: str
    rules: str
    answer: Any
    embedded: str | None = None
    document: dict[str, Any] = HTTP
    data: Mapping[str, Any] = MappingProxyType({})


REQUEST = "input.attributes.request.http"

CASES = [
    Case("true", "allow := true", True),
    Case("false", "allow := false", False),
    Case("default", "default allow := false\n\nallow if input.none", False),
    Case("undefined", "allow if input.none", UNDEFINED),
    Case("null", "allow := null", None),
    Case("number", "allow := 1", 1),
    Case("text", 'allow := "true"', "true"),
    Case("method", f'allow if {REQUEST}.method == "GET"', True),
    Case("header", f'allow if {REQUEST}.headers["x-a"] == "1"', True),
    Case("header absent", f'allow if {REQUEST}.headers["x-b"] == "1"', UNDEFINED),
    Case("header absent, not", f'allow if not {REQUEST}.headers["x-b"]', True),
    Case("parsed path", 'allow if input.parsed_path == ["orders", "7"]', True),
    Case("parsed path pattern", 'allow if ["orders", id] = input.parsed_path', True),
    Case("parsed query", 'allow if "b" in input.parsed_query.tag', True),
    Case("parsed body", "allow if input.parsed_body.total == 3", True),
    Case("principal", 'allow if input.attributes.source.principal == "x"', UNDEFINED),
    Case("scope", 'allow if "orders:read" in input.narrowgate.token.scope', True),
    Case(
        "object",
        'allow := {"allowed": true, "headers": {"x-user": "a"}} if input.parsed_path',
        {"allowed": True, "headers": {"x-user": "a"}},
    ),
    Case(
        "object of members",
        'allow.allowed := true\n\nallow["headers"] := {"x-a": input.parsed_path[1]}\n\n'
        "allow.http_status := input.none",
        {"allowed": True, "headers": {"x-a": "7"}},
    ),
    Case(
        "opa-envoy result object",
        'default granted := false\n\ngranted if input.none\n\nresult["allowed"] := granted\n\n'
        'result["http_status"] := 403\n\nresult["body"] := "no"\n\nallow := result',
        {"allowed": False, "http_status": 403, "body": "no"},
    ),
    Case(
        "deny with status",
        'allow := {"allowed": false, "http_status": 302, "headers": {"location": "/in"}}',
        {"allowed": False, "http_status": 302, "headers": {"location": "/in"}},
    ),
    Case(
        "conflict",
        "allow := true if input.parsed_path\n\nallow := false if input.parsed_query",
        ERROR,
    ),
    Case(
        "no conflict", "allow := true if input.none\n\nallow := false if input.parsed_query", False
    ),
    Case("same value twice", "allow if input.parsed_path\n\nallow if input.parsed_query", True),
    Case("function conflict", "allow if f(1) == 1\n\nf(x) := 1 if x\n\nf(x) := 2 if x", ERROR),
    Case("function", "allow if f(2) == 3\n\nf(x) := y if y := x + 1", True),
    Case("function patterns", 'allow if f("b") == 2\n\nf("a") := 1\n\nf("b") := 2', True),
    Case("else", "allow := 1 if { input.none } else := 2 if { input.parsed_path } else := 3", 2),
    Case("else at last", "allow := true if { input.none } else := false", False),
    Case("every", "allow if { every i in input.parsed_body.items { i.n > 0 } }", True),
    Case("every fails", "allow if { every i in input.parsed_body.items { i.n > 1 } }", UNDEFINED),
    Case("every of nothing", "allow if { every i in [] { i } }", True),
    Case("every of undefined", "allow if { every i in input.none { i } }", UNDEFINED),
    Case("some", 'allow if { some i in input.parsed_body.items; i.sku == "b" }', True),
    Case("some key", 'allow if { some k, v in input.parsed_query; k == "page"; v == ["2"] }', True),
    Case("some index", "allow if { some i; input.parsed_body.items[i].n == 2; i == 1 }", True),
    Case("partial set", 'allow if count(deny) == 0\n\ndeny contains "a" if input.none', True),
    Case(
        "partial set holds",
        "allow if not deny.a\n\ndeny contains x if some x in input.parsed_query.tag",
        UNDEFINED,
    ),
    Case(
        "partial object",
        "allow := o\n\no[k] := 1 if some k in input.parsed_query.tag",
        {"a": 1, "b": 1},
    ),
    Case(
        "partial object conflict",
        'allow := o\n\no[k] := v if { k := "a"; some v in [1, 2] }',
        ERROR,
    ),
    Case("comprehension", "allow := [i.sku | some i in input.parsed_body.items; i.n > 1]", ["b"]),
    Case("set comprehension", "allow := {i.n | some i in input.parsed_body.items}", [1, 2]),
    Case(
        "object comprehension",
        "allow := {i.sku: i.n | some i in input.parsed_body.items}",
        {"a": 1, "b": 2},
    ),
    Case("undefined in a comprehension", "allow := [x | some i in [1]; x := input.none]", []),
    Case(
        "regex", 'allow if regex.match("^/orders/[0-9]+", input.attributes.request.http.path)', True
    ),
    Case(
        "regex with a class", 'allow if regex.match("^\\\\d$", input.parsed_path[1])', True, REFUSED
    ),
    Case("glob", 'allow if glob.match("/orders/*", ["/"], "/orders/7")', True),
    Case("glob depth", 'allow := glob.match("/orders/*", ["/"], "/orders/7/x")', False),
    Case("glob deep", 'allow := glob.match("/orders/**", ["/"], "/orders/7/x")', True),
    Case("cidr", 'allow if net.cidr_contains("10.0.0.0/8", "10.1.2.3")', True),
    Case("time", "allow if time.now_ns() > 1700000000000000000", True),
    Case("weekday", 'allow if time.weekday(1700000000000000000) == "Tuesday"', True),
    Case("sprintf", 'allow := sprintf("%s/%d", [input.parsed_path[0], 7])', "orders/7"),
    Case("split and trim", f'allow := trim_prefix(split({REQUEST}.path, "?")[0], "/orders/")', "7"),
    Case("object.get", f'allow := object.get({REQUEST}.headers, "x-b", "none")', "none"),
    Case("set difference", 'allow if {"a", "b"} - {"a"} == {"b"}', True),
    Case("arithmetic", "allow := 7 % 4 + 2 * 3", 9),
    Case("division", "allow := 7 / 2", 3.5),
    Case(
        "claims of a header",
        f'allow := c.sub if {{ t := trim_prefix({REQUEST}.headers.authorization, "Bearer "); '
        'c := json.unmarshal(base64url.decode(split(t, ".")[1])) }',
        "a",
    ),
    Case("io.jwt.decode", 'allow if io.jwt.decode("e30.e30.")', True, REFUSED),
    Case("undefined assigned", "allow if { x := input.none; true }", UNDEFINED),
    Case(
        "undefined in an object",
        'allow if { x := {"a": input.none}; true }',
        UNDEFINED,
    ),
    Case("undefined in a set", "allow if { x := {input.none}; true }", UNDEFINED),
    Case(
        "undefined argument",
        "allow if f(input.none)\n\nf(_) := true",
        UNDEFINED,
        "policy_disagreed",
    ),
    Case("undefined compared", "allow if input.none != 1", UNDEFINED),
    Case("undefined under not", "allow if not input.none == 1", True),
    Case("type error", 'allow if startswith(input.parsed_path, "a")', UNDEFINED, "policy_error"),
    Case(
        "type error under not",
        'allow if not startswith(input.parsed_path, "a")',
        True,
        "policy_error",
    ),
    Case(
        "divide by zero",
        "allow if 1 / (input.parsed_body.total - 3) == 1",
        UNDEFINED,
        "policy_error",
    ),
    Case(
        "with", 'allow if input.parsed_path == [] with input as {"parsed_path": []}', True, REFUSED
    ),
    Case(
        "default function", "default f(_) := 1\n\nf(x) := 2 if x == 5\n\nallow := f(1)", 1, REFUSED
    ),
    Case("default comprehension", "default allow := [x | x := 1]", [1], REFUSED),
    Case("data", 'allow if data.admins[_] == "a"', True, data={"admins": ["b", "a"]}),
    Case(
        "data object",
        "allow := data.limits[input.parsed_path[0]]",
        5,
        data={"limits": {"orders": 5}},
    ),
    Case("emoji", "allow := count(input.x)", 1, "policy_error", {"x": "😀"}),
    Case("nested rules", "allow if a\n\na if b\n\nb if not c\n\nc if input.none", True),
    Case("walk", "allow if { walk(input, [_, 7]) }", UNDEFINED, REFUSED),
    Case("big numbers", "allow := input.x + 1", 9007199254740993, None, {"x": 9007199254740992}),
]
