"""Finds out what a policy reads of its input, so that nothing else has to be built.

Invariants: never less than it reads. A reference below `input` counts with its literal prefix and
everything under that; an alias counts as what it stands for; `input` by itself, or with an index
that is no literal, is everything. What is left out is undefined for no reference of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from policy.input import CLAIMS, Needs
from policy.syntax import Module, Node, references

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


def _input_paths(module: Module, rule: Node) -> Iterator[tuple[str, ...]]:
    """What `rule` refers to below `input`, without `input`."""
    for path in references(rule, lookups=True):
        if path[0] != "input" and path[0] in module.aliases:
            path = (*module.aliases[path[0]], *path[1:])  # noqa: PLW2901
        if path[0] == "input":
            yield path[1:]
