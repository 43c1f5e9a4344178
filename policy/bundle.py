"""A policy bundle: Rego modules and data with a revision.

Invariants: the revision is the SHA-256 of the content, so equal text has equal revisions and no
two texts share one; tests (`*_test.rego`) are never part of a bundle; a directory or a section
with anything unreadable in it gives no bundle at all, and every problem is named at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

MODULES_MAX: Final = 1000
FILE_BYTES_MAX: Final = 1 << 20
_TEST_SUFFIX: Final = "_test.rego"
_DATA_FILES: Final = frozenset({"data.json", "data.yaml", "data.yml"})


class Problem(NamedTuple):
    """One thing that is wrong; `line` counts from 1, 0 stands for the whole file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class PolicyError(Exception):
    """A policy that cannot be loaded: all of `problems`, in order of file and line."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems: Final = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """Modules (`path.rego` to source) and the data document beside them."""

    modules: Mapping[str, str] = field(repr=False)
    data: Mapping[str, object] = field(repr=False)
    revision: str

    @classmethod
    def of(cls, modules: Mapping[str, str], data: Mapping[str, object]) -> PolicyBundle:
        """The bundle of this content, with its revision."""
        text = json.dumps([dict(modules), dict(data)], sort_keys=True, separators=(",", ":"))
        return cls(dict(modules), dict(data), hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def from_section(cls, section: Mapping[str, object]) -> PolicyBundle:
        """The bundle in the authority's `policy` section: `{"revision", "modules", "data"}`.

        The revision is computed again from the content and not taken from the section.

        Raises:
            PolicyError: the section has another shape.
        """
        modules, data = section.get("modules"), section.get("data", {})
        if not isinstance(modules, dict) or not modules or len(modules) > MODULES_MAX:
            raise PolicyError([Problem("policy", 0, "`modules` is not an object of modules")])
        if not isinstance(data, dict):
            raise PolicyError([Problem("policy", 0, "`data` is not an object")])
        wrong = [
            Problem(str(name), 0, "a module is `<path>.rego` to its source")
            for name, source in modules.items()
            if not isinstance(source, str) or not str(name).endswith(".rego")
        ]
        if wrong:
            raise PolicyError(wrong)
        kept = {name: text for name, text in modules.items() if not name.endswith(_TEST_SUFFIX)}
        return cls.of(kept, data)


def load_directory(path: Path, *, tests: bool = False) -> PolicyBundle:
    """Every `*.rego` below `path`, and `data.{json,yaml,yml}` files merged at their folder's path.

    `tests` also takes `*_test.rego`; such a bundle is for the test runner only.

    Raises:
        PolicyError: nothing is there, or a file is unreadable, too large, or not UTF-8 or data.
    """
    problems: list[Problem] = []
    modules: dict[str, str] = {}
    data: dict[str, object] = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.suffix != ".rego" and file.name not in _DATA_FILES:
            continue
        if file.name.endswith(_TEST_SUFFIX) and not tests:
            continue
        try:
            text = _text(file)
            if file.suffix == ".rego":
                modules[name] = text
            else:
                _merge(data, _placed(_value(file.name, text), Path(name).parent.parts))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(name, 0, f"cannot be read: {error}"))
    if not modules and not problems:
        problems.append(Problem(str(path), 0, "no Rego module is there"))
    if len(modules) > MODULES_MAX:
        problems.append(Problem(str(path), 0, f"more than {MODULES_MAX} modules"))
    if problems:
        raise PolicyError(problems)
    return PolicyBundle.of(modules, data)


def _text(file: Path) -> str:
    raw = file.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        raise ValueError(f"over {FILE_BYTES_MAX} bytes")
    return raw.decode("utf-8")


def _value(name: str, text: str) -> object:
    """The JSON value in `text`; YAML is read as what it is in JSON."""
    if name.endswith(".json"):
        value: object = json.loads(text)
    else:
        value = _yaml(text)
    return json.loads(json.dumps(value, allow_nan=False))


def _yaml(text: str) -> object:
    """YAML without aliases: a few lines of them stand for any amount of data."""
    import yaml  # noqa: PLC0415 - few policies have such data

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("YAML aliases are not read")
        value: object = yaml.safe_load(text)
        json.dumps(value)
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    return value


def _placed(value: object, folder: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("the top of the data is not an object")
    placed: dict[str, object] = value
    for name in reversed(folder):
        placed = {name: placed}
    return placed


def _merge(into: dict[str, object], more: dict[str, object]) -> None:
    for name, value in more.items():
        there = into.setdefault(name, value)
        if isinstance(there, dict) and isinstance(value, dict):
            if there is not value:
                _merge(there, value)
        elif there is not value:
            raise ValueError(f"the data at `{name}` is given twice")
