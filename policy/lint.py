"""Refuses at load what the embedded engine would get wrong.

Invariants: a policy that passes uses only built-ins and forms that OPA's own conformance cases
prove (docs/adr/0002-embedded-rego.md); anything not known here is a problem, not a pass; every
problem of every file is reported at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from policy.bundle import PolicyBundle, Problem
from policy.depth import recursion
from policy.needs import needs
from policy.negation import undefined_under_not
from policy.syntax import (
    REFERENCES,
    SCALARS,
    Head,
    Module,
    head_of,
    is_constant,
    kind_of,
    line_of,
    parse,
    path_of,
    walk,
)
from policy.vocabulary import GUARDS, complaint

__all__ = ["guards", "is_object", "needs", "problems", "read_modules", "resolved", "straight"]

_STRAIGHT: Final = SCALARS | {
    "ArithExpr",
    "Array",
    "AssignExpr",
    "BinExpr",
    "BoolExpr",
    "Call",
    "Compr",  # a rule's head; comprehensions are ArrayCompr, SetCompr and ObjectCompr
    "Default",
    "Expr",
    "Membership",
    "NotExpr",
    "Object",
    "RefDot",
    "Set",
    "Spec",
    "UnaryExpr",
    "Var",
}


def read_modules(bundle: PolicyBundle) -> tuple[list[Module], list[Problem]]:
    """The modules of `bundle` that parse, and the problems of those that do not."""
    parsed = [parse(file, source) for file, source in sorted(bundle.modules.items())]
    return (
        [one for one in parsed if isinstance(one, Module)],
        [one for one in parsed if isinstance(one, Problem)],
    )


def problems(
    modules: Sequence[Module], data: Mapping[str, object], decision: tuple[str, ...]
) -> list[Problem]:
    """Everything that keeps `modules` from being judged by faithfully."""
    functions = {
        (*module.package, *head.path)
        for module in modules
        for head in map(head_of, module.rules)
        if head.form == "function"
    }
    found = [problem for module in modules for problem in _module(module, functions)]
    found += _data_problems(modules, data)
    found += _decision_problems(modules, decision)
    found += recursion(modules)
    found += undefined_under_not(modules)
    return found


def _module(module: Module, functions: set[tuple[str, ...]]) -> Iterator[Problem]:
    if not module.package:
        yield Problem(module.file, 1, "the package path is not understood")
    for rule in module.rules:
        head = head_of(rule)
        if head.form == "default":
            yield from _default(module, rule, head)
        elif not _plain_head(rule):
            yield Problem(module.file, head.line, "a head is a name, or an object rule's one key")
        if head.path[0] in {"input", "data"}:
            yield Problem(module.file, head.line, "no rule redefines `input` or `data`")
        yield from _nodes(module, rule, functions)


def _plain_head(rule: Mapping[str, Any]) -> bool:
    """`name`, `name(...)`, `name contains ...`, `name[key] := ...` or `name.key := ...`."""
    kind, head = kind_of(kind_of(rule)[1]["head"])
    refr_kind, refr = kind_of(head["refr"])
    if refr_kind == "Var":
        return True
    return kind == "Compr" and refr_kind in REFERENCES and "Var" in refr["refr"]


def _default(module: Module, rule: Mapping[str, Any], head: Head) -> Iterator[Problem]:
    content = kind_of(rule)[1]
    if content.get("args"):
        yield Problem(module.file, head.line, "a default function is not evaluated by this engine")
    if not is_constant(content["value"]):
        yield Problem(module.file, head.line, "a default is a constant here")


def _nodes(module: Module, rule: Any, functions: set[tuple[str, ...]]) -> Iterator[Problem]:
    seen: set[int] = set()
    for kind, content in walk(rule):
        if kind == "Call":
            message = _call(module, content, functions)
            if message:
                yield Problem(module.file, line_of(content), message)
        if content.get("with_mods") and id(content) not in seen:
            seen.add(id(content))
            yield Problem(module.file, line_of(content), "`with` is for tests, not for policies")


def _call(
    module: Module, content: Mapping[str, Any], functions: set[tuple[str, ...]]
) -> str | None:
    path = path_of(content["fcn"])
    if path is None:
        return "a call of something that is no function name"
    if resolved(module, path) in functions or (*module.package, *path) in functions:
        return None
    return complaint(".".join(path), content["params"])


def resolved(module: Module, path: tuple[str, ...]) -> tuple[str, ...]:
    """`path` with an alias of `module` replaced and `data` taken off."""
    if path[0] in module.aliases:
        path = (*module.aliases[path[0]], *path[1:])
    return path[1:] if path[0] == "data" else path


def _data_problems(modules: Sequence[Module], data: Mapping[str, object]) -> Iterator[Problem]:
    """Base data at a rule's path would compete with the rule (OPA refuses it as well)."""
    for module in modules:
        for head in map(head_of, module.rules):
            node: object = data
            for name in (*module.package, head.path[0]):
                if not isinstance(node, dict) or name not in node:
                    break
                node = node[name]
            else:
                message = f"data is also given at the path of `{head.path[0]}`"
                yield Problem(module.file, head.line, message)
                continue
            if not isinstance(node, dict):
                yield Problem(module.file, head.line, "data is given where a package is")


def _decision_problems(modules: Sequence[Module], decision: tuple[str, ...]) -> Iterator[Problem]:
    forms = _forms(modules, decision)
    shown = ".".join(("data", *decision))
    file = modules[0].file if len(modules) == 1 else "policy"
    if not forms & {"complete", "object", "default"}:
        yield Problem(file, 0, f"no rule gives the decision `{shown}`")
    if forms & {"function", "set"}:
        yield Problem(file, 0, f"`{shown}` is not a rule with one value")


def _forms(modules: Sequence[Module], decision: tuple[str, ...]) -> set[str]:
    """The forms of the rules that define `decision`."""
    return {
        head.form
        for module in modules
        for head in map(head_of, module.rules)
        if (*module.package, head.path[0]) == decision
    }


def is_object(modules: Sequence[Module], decision: tuple[str, ...]) -> bool:
    """Whether `decision` is put together from members (`allow.headers := ...`)."""
    return "object" in _forms(modules, decision)


def straight(modules: Sequence[Module]) -> bool:
    """Whether evaluating `modules` cannot loop: no iteration, no function, no free index.

    The list is of the forms that are known to be straight; any other form is a loop.
    """
    return all(
        _straight(kind, content)
        for module in modules
        for rule in module.rules
        for kind, content in walk(rule)
        if kind[:1].isupper()
    )


def _straight(kind: str, content: Mapping[str, Any]) -> bool:
    if kind == "RefBrack":
        return kind_of(content["index"])[0] in SCALARS
    return kind in _STRAIGHT


def guards(modules: Sequence[Module]) -> bytes | None:
    """A pattern for the documents on which a function in use is inexact; `None` for none."""
    used = {
        ".".join(path)
        for module in modules
        for rule in module.rules
        for kind, content in walk(rule)
        if kind == "Call" and (path := path_of(content["fcn"])) is not None
    }
    patterns = [b"(?:%b)" % pattern for name, pattern in sorted(GUARDS.items()) if name in used]
    return b"|".join(patterns) if patterns else None
