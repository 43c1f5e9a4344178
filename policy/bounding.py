"""Rewrites modules for the bounding evaluator so that it does at least the work of the judge.

The embedded engine has two evaluators. The tree walker gives the answers but cannot be stopped;
the virtual machine counts its instructions and stops. The machine's run is a bound on the
walker's only if the machine visits what the walker visits, and in three places it does not:

- It leaves a rule or a function with several definitions at the first that succeeds with a
  constant. One more definition that never succeeds and is no constant makes it visit them all.
- It cannot compile `result["headers"] := ...`, which OPA-Envoy's own examples use. The same rule
  with a variable key that is bound first has the same meaning, and it can.
- It goes on after `x := input.absent`, where OPA stops. `x == x` behind it makes it stop.

Invariants: lines keep their numbers; a rule that is not understood is left as it is, so that
compilation fails loudly; the result is for the machine only and never gives an answer alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from policy.syntax import Module, Node, head_of, kind_of, path_of

_KEY: Final = "ng__key"
_VALUE: Final = "ng__value"
_QUOTES: Final = b'"`'


def bounding(modules: Iterable[Module]) -> list[tuple[str, str]]:
    """`(file, source)` of every module, rewritten."""
    modules = list(modules)
    extra = _never(modules)
    return [
        (module.file, _keyed(module) + "".join(extra.pop(module.package, ()))) for module in modules
    ]


def _never(modules: list[Module]) -> dict[tuple[str, ...], list[str]]:
    """For each package, one definition that never succeeds for every name defined twice."""
    counts: Counter[tuple[tuple[str, ...], str, int]] = Counter()
    for module in modules:
        for rule in module.rules:
            head = head_of(rule)
            if head.form in {"complete", "function"} and len(head.path) == 1:
                counts[module.package, head.path[0], _arity(rule)] += 1
    extra: dict[tuple[str, ...], list[str]] = {}
    for (package, name, arity), count in sorted(counts.items()):
        if count > 1:
            args = ", ".join(f"ng__{index}" for index in range(arity))
            head_text = f"{name}({args})" if arity else name
            text = f"\n{head_text} := {_VALUE} if {{ some {_VALUE} in [] }}\n"
            extra.setdefault(package, []).append(text)
    return extra


def _arity(rule: Node) -> int:
    kind, content = kind_of(rule)
    if kind == "Spec" and "Func" in content["head"]:
        return len(content["head"]["Func"]["args"])
    return 0


def _keyed(module: Module) -> str:
    """The source with constant keys of object rules bound in the body instead."""
    edits: list[tuple[int, int, str]] = []
    for rule in module.rules:
        edits += _rekey(module.source, rule)
        edits += _stops(module.source, rule, loose=False)
    source = module.source
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text.encode() + source[end:]
    return source.decode()


def _rekey(source: bytes, rule: Node) -> list[tuple[int, int, str]]:
    kind, content = kind_of(rule)
    if kind != "Spec" or "Compr" not in content["head"] or len(content["bodies"]) > 1:
        return []
    refr = content["head"]["Compr"]["refr"]
    path = path_of(refr)
    if path is None or len(path) != 2:  # noqa: PLR2004 - a name and one key
        return []
    name = kind_of(kind_of(refr)[1]["refr"])[1]
    bind = f"{_KEY} := {json.dumps(path[1])}"
    head = (name["span"]["end"], _head_end(source, refr), f"[{_KEY}]")
    if not content["bodies"]:
        end = _end(source, content["span"])
        return [head, (end, end, f" if {{ {bind} }}")]
    span = content["bodies"][0]["query"]["span"]
    start = span["start"]
    if source[start : start + 1] == b"{":
        return [head, (start + 1, start + 1, f" {bind}; ")]
    if source[start - 1] in _QUOTES:
        start -= 1
    end = _end(source, span)
    return [head, (start, start, f"{{ {bind}; "), (end, end, " }")]


def _stops(source: bytes, node: Any, *, loose: bool) -> list[tuple[int, int, str]]:
    """`x == x` behind every `x := ...`, except in a body without braces, which takes no more."""
    edits: list[tuple[int, int, str]] = []
    if isinstance(node, list):
        for child in node:
            edits += _stops(source, child, loose=loose)
    if not isinstance(node, dict):
        return edits
    if "is_else" in node:
        start = node["query"]["span"]["start"]
        loose = source[start : start + 1] != b"{"
    elif "stmts" in node and not loose:
        edits += [edit for stmt in node["stmts"] for edit in _stop(source, stmt["literal"])]
    for kind, child in node.items():
        # Only the body's own query is without braces; what is inside its expressions is not.
        edits += _stops(source, child, loose=loose and kind in {"query", "stmts"})
    return edits


def _stop(source: bytes, literal: Node) -> list[tuple[int, int, str]]:
    assign = literal.get("Expr", {}).get("expr", {}).get("AssignExpr")
    if assign is None or assign["op"] != "ColEq" or "Var" not in assign["lhs"]:
        return []
    name, end = assign["lhs"]["Var"]["value"], _end(source, assign["span"])
    return [] if name == "_" else [(end, end, f"; {name} == {name}")]


def _head_end(source: bytes, refr: Any) -> int:
    kind, content = kind_of(refr)
    if kind == "RefDot":
        return int(content["span"]["end"])
    return source.index(b"]", kind_of(content["index"])[1]["span"]["end"]) + 1


def _end(source: bytes, span: Any) -> int:
    """Where `span` ends; the parser leaves the closing quote of a final string outside."""
    end = int(span["end"])
    return end + 1 if source[end : end + 1] and source[end] in _QUOTES else end
