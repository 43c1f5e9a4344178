"""YAML with one reading: values as JSON would have them, and the line of every field.

Invariants: at most 256 KiB, 16 levels, one document; no anchors, aliases, tags, duplicate or
non-text keys; plain scalars that YAML 1.1 and 1.2 read differently (yes, 010, 1:30, dates) are
problems and not guesses. Every problem is collected, none is raised.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import yaml

BYTES_MAX: Final = 256 * 1024
_DEPTH_MAX: Final = 16
_TAG: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}(?:[eE][-+]?[0-9]{1,2})?")

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong: where (line from 1, field path) and what to do about it."""

    line: int
    path: Path
    message: str


class Document(NamedTuple):
    """The value, the line of each field path, and every problem found while reading."""

    value: object
    lines: dict[Path, int]
    problems: list[Problem]

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest enclosing field that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(content: bytes) -> Document:
    """Read one YAML document; never raises for what is in it."""
    document = Document(None, {}, [])
    if len(content) > BYTES_MAX:
        return _refused(document, 1, f"is over {BYTES_MAX} bytes, make it smaller")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _refused(document, line, "is not UTF-8, save it as UTF-8")
    try:
        refusals = _events(text)
        if refusals:
            document.problems.extend(refusals)
            return document
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        message = f"is not YAML ({_cause(error)}), correct it"
        return _refused(document, _line_of(error, text), message)
    if node is None:
        return _refused(document, 1, "is empty, write 'version: 1' and the sections")
    return document._replace(value=_value(node, (), document))


def _refused(document: Document, line: int, message: str) -> Document:
    document.problems.append(Problem(line, (), message))
    return document


def _events(text: str) -> list[Problem]:
    """What must be refused before a tree is built: aliases, anchors, tags, depth."""
    problems: list[Problem] = []
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event)
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_MAX:
            problems.append(Problem(line, (), f"nests over {_DEPTH_MAX} levels, flatten it"))
            break
        if isinstance(event, yaml.events.NodeEvent) and event.anchor is not None:
            problems.append(Problem(line, (), "uses an anchor or alias, write the value out"))
        elif getattr(event, "tag", None) is not None:
            problems.append(Problem(line, (), "uses a YAML tag, remove it"))
    return problems


def _line(part: yaml.Event | yaml.Node) -> int:
    return part.start_mark.line + 1 if part.start_mark is not None else 1


def _line_of(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    position = getattr(error, "position", 0)
    return text.count("\n", 0, position) + 1


def _cause(error: yaml.YAMLError) -> str:
    cause = getattr(error, "problem", None) or getattr(error, "reason", None) or "syntax error"
    return re.sub(r"[^ -~]", "?", str(cause))


def _value(node: yaml.Node, path: Path, document: Document) -> object:
    document.lines.setdefault(path, _line(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document) for index, item in enumerate(node.value)]
    return _scalar(node, path, document)


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in node.value:
        line = _line(key)
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
            document.problems.append(Problem(line, path, "has a key that is not text, quote it"))
            continue
        inner = (*path, str(key.value))
        if key.value in result:
            first = document.lines[inner]
            message = f"stands here and in line {first}, keep one"
            document.problems.append(Problem(line, inner, message))
            continue
        document.lines[inner] = line
        result[key.value] = _value(value, inner, document)
    return result


def _scalar(node: yaml.Node, path: Path, document: Document) -> object:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "null" if text in {"", "~", "null"}:
            return None
        case "bool" if text in {"true", "false"}:
            return text == "true"
        case "int" if _INT.fullmatch(text):
            return int(text)
        case "float" if _FLOAT.fullmatch(text):
            return float(text)
    message = "can be read in two ways, put it in quotes or write a plain number, true or false"
    document.problems.append(Problem(_line(node), path, message))
    return None
