"""Refuses `not` over a call or comparison with an argument that may be undefined.

OPA evaluates the arguments of what is negated first (but not the sides of `==`): with an undefined
one, the whole body is undefined. Both evaluators here take the negated expression as a whole, so
that `not` of it is true: `allow if not startswith(input.role, "guest")` would let a call without a
role through. There is no telling at load what will be undefined, so only arguments that cannot be
are let through: literals, local variables, and the facts that each input has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from policy.bundle import Problem
from policy.syntax import REFERENCES, Module, head_of, kind_of, line_of, path_of, walk

_OPERATIONS: Final = frozenset({"ArithExpr", "BinExpr", "BoolExpr", "Call", "Membership"})
_ALWAYS: Final = frozenset(
    {
        ("attributes", "request", "http", "method"),
        ("attributes", "request", "http", "path"),
        ("attributes", "request", "http", "id"),
        ("attributes", "request", "http", "protocol"),
        ("narrowgate", "gate"),
        ("narrowgate", "posture"),
        ("narrowgate", "identity", "self"),
        ("parsed_path",),
        ("parsed_query",),
    }
)
_ADVICE: Final = "`not` over something that may be undefined: bind it first, `x := ...; not ...`"


def undefined_under_not(modules: Sequence[Module]) -> list[Problem]:
    """The negations in `modules` that OPA would judge otherwise."""
    rules = {
        (*module.package, head.path[0])
        for module in modules
        for head in map(head_of, module.rules)
        if head.form != "function"
    }
    settled = {
        (*module.package, head.path[0])
        for module in modules
        for head in map(head_of, module.rules)
        if head.form in {"default", "set"}
    }
    return [
        Problem(module.file, line_of(content), _ADVICE)
        for module in modules
        for rule in module.rules
        for kind, content in walk(rule)
        if kind == "NotExpr" and not _certain(module, content["expr"], rules - settled)
    ]


def _certain(module: Module, negated: Mapping[str, Any], unsettled: set[tuple[str, ...]]) -> bool:
    kind, content = kind_of(negated)
    if kind not in _OPERATIONS:
        return True  # `not input.x` means the same everywhere: it is not there, or false
    arguments = list(_arguments(kind, content))
    if content.get("op") == "Eq":
        # OPA evaluates the two sides of `==` as part of it, unlike the arguments of a call.
        arguments = [node for node in arguments if kind_of(node)[0] not in {*REFERENCES, "Var"}]
    return not any(_doubtful(module, node, unsettled) for node in arguments)


def _arguments(kind: str, content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The expressions that an operation takes, not the name of the function it calls."""
    if kind == "Call":
        yield from content["params"]
        return
    for name in ("lhs", "rhs", "key", "value", "collection"):
        if isinstance(content.get(name), dict):
            yield content[name]


def _doubtful(module: Module, node: Mapping[str, Any], unsettled: set[tuple[str, ...]]) -> bool:
    """Whether the value of `node` may be undefined."""
    kind, content = kind_of(node)
    if kind in _OPERATIONS:
        return any(_doubtful(module, part, unsettled) for part in _arguments(kind, content))
    if kind == "Var":
        name = str(content["value"])
        return name in module.aliases or (*module.package, name) in unsettled
    if kind in REFERENCES:
        return not _always(module, path_of(node))
    if kind in {"Array", "Set", "Object", "UnaryExpr"}:
        return any(_doubtful(module, part, unsettled) for part in _parts(kind, content))
    return False


def _parts(kind: str, content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if kind == "UnaryExpr":
        yield content["expr"]
    elif kind == "Object":
        for field in content["fields"]:
            yield from field[1:]
    else:
        yield from content["items"]


def _always(module: Module, path: tuple[str, ...] | None) -> bool:
    if path is None:
        return False
    if path[0] in module.aliases:
        path = (*module.aliases[path[0]], *path[1:])
    return path[0] == "input" and path[1:] in _ALWAYS
