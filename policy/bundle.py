"""A policy bundle: Rego modules and data with a revision, and how it becomes an engine.

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
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from policy.engines.regorus import RegorusEngine

MODULES_MAX: Final = 1000
FILE_BYTES_MAX: Final = 1 << 20
_TEST_SUFFIX: Final = "_test.rego"


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
    """Every `*.rego` below `path`, and `data.json` files merged at their folder's path.

    `tests` also takes `*_test.rego`; such a bundle is for the test runner only.

    Raises:
        PolicyError: nothing is there, or a file is unreadable, too large or not UTF-8 or JSON.
    """
    problems: list[Problem] = []
    modules: dict[str, str] = {}
    data: dict[str, object] = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.suffix != ".rego" and file.name != "data.json":
            continue
        if file.name.endswith(_TEST_SUFFIX) and not tests:
            continue
        try:
            text = _text(file)
            if file.suffix == ".rego":
                modules[name] = text
            else:
                _merge(data, Path(name).parent.parts, json.loads(text))
        except (OSError, ValueError) as error:
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


def _merge(data: dict[str, object], folder: tuple[str, ...], value: object) -> None:
    if not isinstance(value, dict):
        raise ValueError("data.json is not an object")
    node = data
    for name in folder:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ValueError(f"data at {name} is given twice")
        node = child
    if node.keys() & value.keys():
        raise ValueError("the same data is given twice")
    node.update(value)


def compile_engine(bundle: PolicyBundle, decision: str) -> RegorusEngine:
    """The embedded engine for `decision` (`envoy/authz/allow`) of `bundle`.

    Raises:
        PolicyError: the policy is refused; every problem with its file and line.
    """
    from policy.engines.regorus import RegorusEngine  # noqa: PLC0415 - loads a large library

    return RegorusEngine.load(bundle, decision)
