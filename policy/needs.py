"""Finds out what a policy reads of its input, so that nothing else has to be built.

Invariants: never less than it reads. A reference below `input` counts with its literal prefix and
everything under that; an alias counts as what it stands for; `input` by itself, or with an index
that is no literal, is everything. What is left out is undefined for no reference of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from policy.input import CLAIMS, Needs
from policy.syntax import Module, is_constant, kind_of, path_of, prefix_of

_REFERENCES: Final = frozenset({"RefDot", "RefBrack"})
_HEADERS: Final = ("attributes", "request", "http", "headers")
_FEATURES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "path": (("parsed_path",),),
    "query": (("parsed_query",),),
    "parsed_body": (("parsed_body",),),
    "raw_body": (("attributes", "request", "http", "body"),),
    "truncated": (("truncated_body",),),
    "token": (("narrowgate", "token"),),
    "time": (("attributes", "request", "time"),),
    "addresses": (("attributes", "source", "address"), ("attributes", "destination", "address")),
    "everything": ((),),
}
_FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "source": ("attributes", "source", "principal"),
    "destination": ("attributes", "destination", "principal"),
    "id": ("attributes", "request", "http", "id"),
    "method": ("attributes", "request", "http", "method"),
    "target": ("attributes", "request", "http", "path"),
    "protocol": ("attributes", "request", "http", "protocol"),
    "host": ("attributes", "request", "http", "host"),
    "size": ("attributes", "request", "http", "size"),
    "metadata": ("attributes", "metadataContext"),
    "version": ("version",),
    "gate": ("narrowgate", "gate"),
    "identity": ("narrowgate", "identity"),
    "onward": ("narrowgate", "destination"),
    "context": ("narrowgate", "context"),
    "posture": ("narrowgate", "posture"),
    **{claim: ("narrowgate", "token", claim) for claim in CLAIMS},
}


def needs(modules: Sequence[Module]) -> Needs:
    """What `modules` read of their input."""
    found = Needs()
    for module in modules:
        for rule in module.rules:
            for path in _input_paths(module, rule):
                found = found.joined(_need(path))
    return found


def _need(path: tuple[str, ...]) -> Needs:
    flags = {
        name: any(_touches(path, feature) for feature in features)
        for name, features in _FEATURES.items()
        if name != "everything"
    }
    headers: frozenset[str] | None = frozenset()
    if _touches(path, _HEADERS):
        longer = len(path) > len(_HEADERS)
        headers = frozenset({path[len(_HEADERS)]}) if longer else None
    facts = frozenset(name for name, fact in _FACTS.items() if _touches(path, fact))
    return Needs(headers=headers, facts=facts, everything=not path, **flags)


def _touches(path: tuple[str, ...], feature: tuple[str, ...]) -> bool:
    shorter = min(len(path), len(feature))
    return path[:shorter] == feature[:shorter]


def _input_paths(module: Module, node: Any) -> Iterator[tuple[str, ...]]:
    """The literal prefix of every reference below `input` in `node`, without `input`."""
    if isinstance(node, list):
        for child in node:
            yield from _input_paths(module, child)
    if not isinstance(node, dict):
        return
    found = prefix_of(node)
    if found is None and "Call" in node:
        node = _looked_up(node["Call"])
        found = prefix_of(node)
    if found is None:
        for child in node.values():
            yield from _input_paths(module, child)
        return
    path = found[0]
    if path[0] in module.aliases:
        path = (*module.aliases[path[0]], *path[1:])
    if path[0] == "input":
        yield path[1:]
    yield from _indexes(module, node)


def _looked_up(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """`object.get(a.b, "c", default)` as `a.b["c"]`; any other call as it is.

    The default is no part of it, so it has to be a literal.
    """
    arguments = call["params"]
    if path_of(call["fcn"]) != ("object", "get") or len(arguments) != 3:  # noqa: PLR2004
        return call
    if "String" not in arguments[1] or not is_constant(arguments[2]):
        return call
    if not prefix_of(arguments[0]):
        return call
    return {"RefBrack": {"refr": arguments[0], "index": arguments[1]}}


def _indexes(module: Module, node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The references inside the brackets of a reference."""
    kind, content = kind_of(node)
    while kind in _REFERENCES:
        if kind == "RefBrack":
            yield from _input_paths(module, content["index"])
        kind, content = kind_of(content["refr"])
    if kind not in {"Var", ""}:
        yield from _input_paths(module, content)
