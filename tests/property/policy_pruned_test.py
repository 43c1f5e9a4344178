"""Leaving out what a policy does not refer to never changes what it answers."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ca.spiffe.ids import SpiffeId
from policy.bundle import PolicyBundle
from policy.call import Call, Gate, Grant, Posture
from policy.engines import UNDEFINED, EngineFault
from policy.engines.regorus import RegorusEngine
from policy.input import EVERYTHING, document
from policy.loading import compile_engine

ME: Final = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
PEER: Final = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/frontend")
HEAD: Final = "package p\n\nimport rego.v1\n\n"
PATHS: Final = [
    "input",
    "input.attributes",
    "input.attributes.source",
    "input.attributes.source.principal",
    "input.attributes.source.address.socketAddress.portValue",
    "input.attributes.destination",
    "input.attributes.request",
    "input.attributes.request.time",
    "input.attributes.request.http",
    "input.attributes.request.http.headers",
    "input.attributes.request.http.body",
    *(
        f"input.attributes.request.http.{name}"
        for name in ("id", "method", "path", "protocol", "host", "size", "scheme")
    ),
    *(f'input.attributes.request.http.headers["{name}"]' for name in ("x-a", ":path", "x-none")),
    "input.attributes.metadataContext",
    "input.attributes.contextExtensions",
    "input.parsed_path",
    "input.parsed_path[0]",
    "input.parsed_query",
    "input.parsed_query.a",
    "input.parsed_body",
    "input.parsed_body.a",
    "input.truncated_body",
    "input.version",
    "input.version.encoding",
    "input.narrowgate",
    "input.narrowgate.gate",
    "input.narrowgate.posture",
    "input.narrowgate.identity",
    "input.narrowgate.identity.peer",
    "input.narrowgate.context",
    "input.narrowgate.destination.workload",
    "input.narrowgate.none",
    "input.narrowgate.token",
    *(
        f"input.narrowgate.token.{name}"
        for name in ("txn", "sub", "scope", "req_wl", "hops", "exp", "tctx", "none")
    ),
]


def split(path: str) -> tuple[str, str]:
    """`a.b.c` as `a.b` and `"c"`."""
    if path.endswith("]"):
        base, _, key = path[:-1].rpartition("[")
        return base, key
    base, _, key = path.rpartition(".")
    return (base, f'"{key}"') if base else (path, '"version"')


paths = st.sampled_from(PATHS)
templates = st.sampled_from(
    [
        "allow := {path}",
        "allow if {path}",
        "allow if not {path}",
        "allow if {path} == null",
        "allow if {{ {path} != null; not {other} }}",
        "default allow := false\n\nallow if {path} == {other}",
        "allow := object.get({base}, {key}, {other})",
        "allow := object.get({base}, {key}, 7)",
        "allow := object.get({base}, [{key}], 7)",
        "allow := {{k | some k, _ in {path}}}",
        "allow := [v | some v in {path}]",
        "allow := count({path})",
        "allow := {base}[k] if {{ k := {key} }}",
        "allow if {{ every v in {path} {{ v != {other} }} }}",
        "allow := x if {{ x := {path} }} else := {other}",
        "import {path} as it\n\nallow := it",
        "import {path} as it\n\nallow if not it.x",
        "f(x) := x.y if x.y\n\nallow := f({path})",
        "s contains {path}\n\nallow := s",
        "o[{path}] := {other}\n\nallow := o",
        'allow := {{"a": [{path}], "b": {{1, 2}}}}',
        "allow := type_name({path})",
    ]
)
texts = st.text("ab1/", min_size=1, max_size=4)


@st.composite
def policies(draw: st.DrawFn) -> str:
    template, path, other = draw(templates), draw(paths), draw(paths)
    if template.startswith("import"):
        path = path.split("[")[0]
    base, key = split(path)
    return str(template.format(path=path, other=other, base=base, key=key))


@st.composite
def calls(draw: st.DrawFn) -> tuple[Call, Grant | None]:
    body = draw(st.sampled_from([b"", b'{"a": 1}', b"[]"]))
    fields = [(b"content-type", b"application/json")] if body else []
    fields += [(b"x-a", text.encode()) for text in draw(st.lists(texts, max_size=2))]
    path, query = f"/{draw(texts)}", draw(st.sampled_from(["", "a=1", "b"]))
    call = Call(
        gate=draw(st.sampled_from(list(Gate))),
        id="d",
        time_s=1.0,
        method=draw(st.sampled_from(["GET", "POST"])),
        target=f"{path}?{query}" if query else path,
        path=path,
        query=query,
        host=draw(st.sampled_from(["", "orders"])),
        protocol="HTTP/1.1",
        fields=fields,
        size=len(body),
        body=body,
        truncated=False,
        source=draw(st.sampled_from([None, PEER])),
        source_address=("127.0.0.1", 1),
        destination=draw(st.sampled_from([None, ME])),
        destination_address=("127.0.0.1", 2),
        workload=ME,
    )
    if draw(st.booleans()):
        return call, None
    rest: dict[str, Any] = {"context": {}, "root": "r", "chain": "c", "expires_at_s": 1.0}
    scope = frozenset(draw(st.lists(texts, max_size=2)))
    hops = draw(st.sampled_from([(), (PEER,)]))
    return call, Grant(
        txn="t", subject="s", scope=scope, requesting_workload=PEER, issuer=PEER, hops=hops, **rest
    )


@cache
def engine(source: str) -> RegorusEngine:
    return compile_engine(PolicyBundle.of({"p.rego": HEAD + source}, {}), "p/allow")


def answer(source: str, text: bytes) -> object:
    """The answer, or the reason of the fault."""
    try:
        value = engine(source).answer(text)
    except EngineFault as fault:
        return fault.reason
    return UNDEFINED if value is UNDEFINED else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@given(policies(), calls(), st.sampled_from([Posture.NORMAL, Posture.DEGRADED]))
def test_leaving_out_changes_no_answer(
    source: str, called: tuple[Call, Grant | None], posture: Posture
) -> None:
    call, grant = called
    pruned = document(call, grant, posture, engine(source).needs)
    whole = document(call, grant, posture, EVERYTHING)
    assert answer(source, pruned) == answer(source, whole)
