"""From a configuration file to a model, with every problem in words and with its line.

Invariants: either a whole valid model is returned or ConfigError has every problem; a message says
what is wrong and, after a comma, what to do; the offending value itself is never repeated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sidecar import strict_yaml
from sidecar.strict_yaml import Document, Problem

REPORTED_APART: Final = "reported_apart"
"""Error type of checks across sections: `load` reports them through `across`, once."""

_WHOLE: Final = "the file"
_PATH_CHARS_MAX: Final = 200
_MESSAGES: Final = {
    "missing": "is required, add it",
    "string_type": "has the wrong type, give text in quotes",
    "int_type": "has the wrong type, give a whole number",
    "int_from_float": "has the wrong type, give a whole number",
    "float_type": "has the wrong type, give a number",
    "bool_type": "has the wrong type, give true or false",
    "model_type": "has the wrong type, give a section with fields",
    "model_attributes_type": "has the wrong type, give a section with fields",
    "tuple_type": "has the wrong type, give a list",
}
_WORDING: Final = re.compile(r"^(Input|Tuple|String|List) | after validation")
_Model = TypeVar("_Model", bound=BaseModel)
Across = Callable[[Mapping[str, object]], Mapping[tuple[str, str], str]]


class ConfigError(Exception):
    """The configuration cannot be used: `problems` has all of it, `str()` one line for each."""

    def __init__(self, file: Path, problems: list[Problem]) -> None:
        self.file: Final = file
        self.problems: Final = tuple(sorted(set(problems), key=lambda p: (p.line, dotted(p.path))))
        lines = (f"{file}:{p.line}: {dotted(p.path)}: {p.message}" for p in self.problems)
        super().__init__("\n".join(lines))


def dotted(path: strict_yaml.Path) -> str:
    """A field path for people: `edge.issuers[0].audience`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return re.sub(r"[^ -~]", "?", text.removeprefix("."))[:_PATH_CHARS_MAX] or _WHOLE


def load(path: Path, model: type[_Model], version: int, across: Across) -> _Model:
    """Read `path` as a `model`; raises ConfigError with every problem."""
    path = path.absolute()
    document = strict_yaml.read(_content(path))
    data = document.value
    if not isinstance(data, dict):
        nothing = Problem(1, (), f"holds no fields, write 'version: {version}' first")
        raise ConfigError(path, document.problems or [nothing])
    _check_version(path, data, version, document)
    problems = list(document.problems)
    for field, message in across(data).items():
        problems.append(Problem(document.line(field), field, message))
    try:
        result = model.model_validate_json(json.dumps(data), context={"folder": path.parent})
    except ValidationError as error:
        problems.extend(_model_problems(error, document, model, {p.path for p in problems}))
        raise ConfigError(path, problems) from None
    if problems:
        raise ConfigError(path, problems)
    return result


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(strict_yaml.BYTES_MAX + 1)
    except OSError as error:
        problem = Problem(1, (), f"cannot be read ({error.strerror}), check path and permissions")
        raise ConfigError(path, [problem]) from None


def _check_version(path: Path, data: dict[str, object], version: int, document: Document) -> None:
    """An unknown version is the only thing said: the other rules are not that version's."""
    found = data.get("version")
    if type(found) is int and found == version:
        return
    if found is None:
        message = f"is missing, write 'version: {version}'"
    elif type(found) is int:
        message = (
            f"{found} is not known, this narrowgate reads version {version}: "
            "convert the file or use the narrowgate it was written for"
        )
    else:
        message = f"must be a whole number, write 'version: {version}'"
    raise ConfigError(path, [Problem(document.line(("version",)), ("version",), message)])


def _model_problems(
    error: ValidationError, document: Document, model: type[BaseModel], known: set[strict_yaml.Path]
) -> list[Problem]:
    errors = error.errors(include_url=False)
    inner = {item["loc"][:size] for item in errors for size in range(len(item["loc"]))}
    return [
        Problem(document.line(item["loc"]), item["loc"], _message(item, model))
        for item in errors
        if item["type"] != REPORTED_APART and item["loc"] not in known
        # A list whose items are wrong is not also "too short".
        if not (item["type"] == "too_short" and item["loc"] in inner)
    ]


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    match kind:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return f"is not a known field, {_nearest(str(error['loc'][-1]), model)}"
        case "literal_error" | "enum":
            return f"is not one of the choices, give {context['expected']}"
        case "string_pattern_mismatch":
            return f"has the wrong form, give text that matches {context['pattern']}"
    return f"{_WORDING.sub('', error['msg']).replace('should', 'must', 1)}, change it"


def _nearest(name: str, model: type[BaseModel]) -> str:
    near = get_close_matches(name, sorted(_names(model)), n=1)
    return f"did you mean {near[0]}? else remove it" if near else "remove it"


def _names(model: type[BaseModel]) -> set[str]:
    """Every property name of the model's JSON Schema, nested ones too."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {name for part in parts for name in part.get("properties", {})}
