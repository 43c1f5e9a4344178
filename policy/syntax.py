"""Reads Rego source into the engine's syntax tree and gives the few views the lint needs.

Invariants: a tree comes from the very parser that will evaluate the policy; every view fails
closed: a shape that is not known here is reported as "dynamic", never skipped.

The tree is that of regorus: a node is `{kind: {"span": {line, col, start, end}, ...}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import regorus

from policy.bundle import Problem

Node = Mapping[str, Any]
_LINE: Final = re.compile(r"^--> .*?:(\d+):\d+$", re.MULTILINE)
_MESSAGE: Final = re.compile(r"^error: (.*)$", re.MULTILINE)
_OPAQUE: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
NESTING_MAX: Final = 14
"""Brackets within brackets; the parser takes twice as long for each."""
REFERENCES: Final = frozenset({"RefDot", "RefBrack"})
SCALARS: Final = frozenset({"String", "RawString", "Number", "Bool", "Null"})


class Module(NamedTuple):
    """One parsed module: its file, package path, aliases (name to absolute path) and rules."""

    file: str
    source: bytes
    package: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]
    rules: tuple[Node, ...]


def parse(file: str, source: str) -> Module | Problem:
    """The module in `source`, or why there is none."""
    line = _too_nested(source)
    if line:
        return Problem(file, line, f"brackets are nested more than {NESTING_MAX} deep")
    engine = regorus.Engine()
    try:
        engine.add_policy(file, source)
        ast = json.loads(engine.get_ast_as_json())[0]["ast"]
    except RuntimeError as error:
        return problem_of(file, error)
    package = path_of(ast["package"]["refr"]) or ()
    aliases: dict[str, tuple[str, ...]] = {}
    for imported in ast["imports"]:
        path = path_of(imported["refr"]) or ()
        if path and path[0] in {"data", "input"}:
            name = imported.get("as")
            aliases[_text(source.encode(), name) if name else path[-1]] = path
    return Module(file, source.encode(), tuple(package), aliases, tuple(ast["rules"]))


def _too_nested(source: str) -> int:
    """The line on which brackets are nested too deep, 0 for none."""
    depth, line = 0, 1
    for char in re.findall(r"[\[{()}\]\n]", _OPAQUE.sub(_newlines, source)):
        if char == "\n":
            line += 1
        else:
            depth += 1 if char in "[{(" else -1
            if depth > NESTING_MAX:
                return line
    return 0


def _newlines(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def problem_of(file: str, error: BaseException) -> Problem:
    """What the engine's message says, with the line it names."""
    text = str(error)
    line, message = _LINE.search(text), _MESSAGE.search(text)
    shown = message[1] if message else text.strip().splitlines()[0] if text.strip() else "refused"
    return Problem(file, int(line[1]) if line else 0, shown)


def file_of(error: BaseException, default: str) -> str:
    """The file that the engine's message names."""
    found = re.search(r"^--> (.*?):\d+:\d+$", str(error), re.MULTILINE)
    return found[1] if found else default


def _text(source: bytes, span: Mapping[str, int]) -> str:
    return source[span["start"] : span["end"]].decode()


def kind_of(node: Node) -> tuple[str, Any]:
    """`(kind, content)` of an expression node."""
    for kind, content in node.items():
        if isinstance(content, dict):
            return kind, content
    return "", {}


def line_of(node: Any) -> int:
    """The first line that can be found in `node`."""
    if isinstance(node, dict):
        span = node.get("span")
        if isinstance(span, dict) and "line" in span:
            return int(span["line"])
        if "line" in node and "col" in node:
            return int(node["line"])
        for child in node.values():
            if line := line_of(child):
                return line
    if isinstance(node, list):
        for child in node:
            if line := line_of(child):
                return line
    return 0


def path_of(node: Node) -> tuple[str, ...] | None:
    """`a.b["c"]` as `("a", "b", "c")`; `None` when a part is not a literal text."""
    kind, content = kind_of(node)
    if kind == "Var":
        return (str(content["value"]),)
    if kind == "RefDot":
        base = path_of(content["refr"])
        return None if base is None else (*base, str(content["field"][1]))
    if kind == "RefBrack":
        base = path_of(content["refr"])
        index_kind, index = kind_of(content["index"])
        if base is None or index_kind not in {"String", "RawString"}:
            return None
        return (*base, str(index["value"]))
    return None


def prefix_of(node: Node) -> tuple[tuple[str, ...], bool] | None:
    """The literal prefix of a reference and whether that is all of it; `None` for no reference."""
    kind, content = kind_of(node)
    if kind == "Var":
        return (str(content["value"]),), True
    if kind not in {"RefDot", "RefBrack"}:
        return None
    base = prefix_of(content["refr"])
    if base is None or not base[1]:
        return base
    if kind == "RefDot":
        return (*base[0], str(content["field"][1])), True
    index_kind, index = kind_of(content["index"])
    if index_kind in {"String", "RawString"}:
        return (*base[0], str(index["value"])), True
    return base[0], False


def references(node: Any, *, lookups: bool) -> Iterator[tuple[str, ...]]:
    """The literal prefix of every reference in `node`, those inside brackets as well.

    With `lookups`, `object.get(a.b, "c", default)` counts as `a.b["c"]`.
    """
    if isinstance(node, list):
        for child in node:
            yield from references(child, lookups=lookups)
    if not isinstance(node, dict):
        return
    found = prefix_of(node)
    if found is None and lookups and "Call" in node:
        node = _looked_up(node["Call"])
        found = prefix_of(node)
    if found is None:
        for child in node.values():
            yield from references(child, lookups=lookups)
        return
    yield found[0]
    kind, content = kind_of(node)
    while kind in REFERENCES:
        if kind == "RefBrack":
            yield from references(content["index"], lookups=lookups)
        kind, content = kind_of(content["refr"])


def _looked_up(call: Node) -> Node:
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


def is_constant(node: Node) -> bool:
    """Whether `node` is a scalar, or a collection of nothing else."""
    kind, content = kind_of(node)
    if kind in {"Array", "Set"}:
        return all(map(is_constant, content["items"]))
    if kind == "Object":
        return all(is_constant(part) for field in content["fields"] for part in field[1:])
    return kind in SCALARS


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    """Every `(kind, content)` in `node`, from the outside in."""
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            for kind, content in current.items():
                if isinstance(content, dict):
                    yield kind, content
                if isinstance(content, dict | list):
                    stack.append(content)
        elif isinstance(current, list):
            for item in current:
                if isinstance(item, dict):
                    yield "", item
                stack.append(item)


class Head(NamedTuple):
    """A rule's name and form: `complete`, `set`, `object`, `function` or `default`."""

    path: tuple[str, ...]
    form: str
    line: int


def head_of(rule: Node) -> Head:
    """The head of `rule`; a dynamic or deep reference keeps its literal prefix."""
    kind, content = kind_of(rule)
    line = line_of(content)
    if kind == "Default":
        path = path_of(content["refr"]) or ("",)
        return Head(path, "default", line)
    head_kind, head = kind_of(content["head"])
    found = prefix_of(head["refr"])
    path, whole = found if found is not None else (("",), False)
    if head_kind == "Func":
        return Head(path, "function", line)
    if head_kind == "Set":
        return Head(path, "set", line)
    return Head(path, "complete" if whole and len(path) == 1 else "object", line)
