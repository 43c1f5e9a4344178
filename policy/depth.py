"""Refuses rules that need themselves, and chains of rules too long for the engine's stack.

Neither evaluator survives both: a rule that reads a package it is in ends the process on one, and
so does a chain of a few thousand rules on the other. OPA refuses recursion at load as well.

Invariants: a reference counts for every rule it may reach: a package, or an index that is no
literal, stands for all the rules below it, and an object's members are one rule (the machine
does not survive a member that reads another). A name that is a local variable anywhere in a rule is
taken for local in all of it, so that no sound policy is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from policy.bundle import Problem
from policy.syntax import Module, Node, head_of, kind_of, references, walk

DEPTH_MAX: Final = 64
"""Rules that need each other in a row."""

Path = tuple[str, ...]


class _Rule(NamedTuple):
    file: str
    line: int
    reads: list[Path]


def recursion(modules: Sequence[Module]) -> list[Problem]:
    """The rules of `modules` that need themselves, or too many others in a row."""
    rules: dict[Path, list[_Rule]] = {}
    for module in modules:
        names = {
            head_of(rule).path[0]
            for other in modules
            if other.package == module.package
            for rule in other.rules
        }
        for rule in module.rules:
            head = head_of(rule)
            reads = list(_reads(module, rule, names))
            rules.setdefault((*module.package, head.path[0]), []).append(
                _Rule(module.file, head.line, reads)
            )
    return _Search(rules).problems()


class _Search:
    """Depth-first over the rules, without recursion of our own."""

    def __init__(self, rules: Mapping[Path, list[_Rule]]) -> None:
        self._rules = rules
        self._below: dict[Path, list[Path]] = {}
        for path in rules:
            for end in range(len(path) + 1):
                self._below.setdefault(path[:end], []).append(path)
        self._depths: dict[Path, int] = {}

    def problems(self) -> list[Problem]:
        return [problem for path in self._rules if (problem := self._complaint(path))]

    def _problem(self, path: Path, message: str) -> Problem:
        rule = self._rules[path][0]
        return Problem(rule.file, rule.line, f"the rule `{'.'.join(path)}` {message}")

    def _complaint(self, start: Path) -> Problem | None:
        trail = [(start, iter(self._next(start)))]
        active = {start}
        while trail:
            path, rest = trail[-1]
            following = next(rest, None)
            if following is None:
                depth = 1 + max((self._depths.get(one, 0) for one in self._next(path)), default=0)
                self._depths[path] = depth
                active.discard(path)
                trail.pop()
                if depth > DEPTH_MAX:
                    return self._problem(path, f"is over {DEPTH_MAX} rules deep")
            elif following in active:
                return self._problem(following, "needs itself")
            elif following not in self._depths:
                active.add(following)
                trail.append((following, iter(self._next(following))))
        return None

    def _next(self, path: Path) -> list[Path]:
        """The rules that those at `path` read."""
        found: dict[Path, None] = {}
        for rule in self._rules[path]:
            for read in rule.reads:
                found.update(dict.fromkeys(self._below.get(read, ())))
                for end in range(1, len(read)):
                    if read[:end] in self._rules:
                        found[read[:end]] = None
        return list(found)


def _reads(module: Module, rule: Node, names: set[str]) -> Iterator[Path]:
    """The absolute paths below `data` that `rule` refers to."""
    kind, content = kind_of(rule)
    if kind != "Spec":
        return
    head = kind_of(content["head"])[1]
    inner = [{key: value for key, value in head.items() if key != "refr"}, content["bodies"]]
    inner += [index["index"] for key, index in walk(head["refr"]) if key == "RefBrack"]
    local = _locals(module, head.get("args", []), inner)
    for path in references(inner, lookups=False):
        if path[0] in local or path[0] == "input":
            continue
        if path[0] in module.aliases:
            path = (*module.aliases[path[0]], *path[1:])  # noqa: PLW2901
        if path[0] == "data":
            yield path[1:]
        elif path[0] in names:
            yield (*module.package, *path)


def _locals(module: Module, arguments: Any, inner: Any) -> set[str]:
    """Every name that is declared in a rule."""
    found = set(_vars(arguments))
    for kind, content in walk(inner):
        if kind == "AssignExpr" and content["op"] == "ColEq":
            found.update(_vars(content["lhs"]))
        elif kind == "SomeIn":
            found.update(_vars([content["key"], content["value"]]))
        elif kind == "SomeVars":
            found.update(_text(module, span) for span in content["vars"])
        elif kind == "Every":
            spans = [content["key"], content["value"]]
            found.update(_text(module, span) for span in spans if span)
    return found


def _vars(node: Any) -> Iterator[str]:
    return (str(content["value"]) for kind, content in walk(node) if kind == "Var")


def _text(module: Module, span: Mapping[str, int]) -> str:
    return module.source[span["start"] : span["end"]].decode()
