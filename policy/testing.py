"""Runs a policy's own tests: every rule `test_*` in every `*_test.rego`.

Invariants: a test passes only when its rule is exactly `true`; a directory without a single test
is a failure, not a success; tests run on the tree walker, which knows `with`, and never on the
virtual machine that bounds decisions, because a test is not an attacker's input.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import regorus

from policy.bundle import PolicyError, Problem, load_directory
from policy.syntax import Module, head_of, parse, problem_of

_SUFFIX = "_test.rego"


class Outcome(NamedTuple):
    """What one test gave; `message` is empty when it passed."""

    file: str
    line: int
    name: str
    passed: bool
    message: str

    def __str__(self) -> str:
        word = "PASS" if self.passed else "FAIL"
        tail = f": {self.message}" if self.message else ""
        return f"{word} {self.file}:{self.line} {self.name}{tail}"


def run_tests(directory: Path) -> list[Outcome]:
    """The outcome of every test below `directory`, in order of file and line.

    Raises:
        PolicyError: a module does not parse, or there is no test at all.
    """
    bundle = load_directory(directory, tests=True)
    parsed = [parse(file, source) for file, source in sorted(bundle.modules.items())]
    problems = [one for one in parsed if isinstance(one, Problem)]
    if problems:
        raise PolicyError(problems)
    modules = [one for one in parsed if isinstance(one, Module)]
    engine = regorus.Engine()
    for module in modules:
        engine.add_policy(module.file, module.source.decode())
    engine.add_data_json(json.dumps(dict(bundle.data)))
    outcomes = [
        _run(engine.clone(), module, name, line)
        for module in modules
        if module.file.endswith(_SUFFIX)
        for name, line in _tests(module)
    ]
    if not outcomes:
        raise PolicyError([Problem(str(directory), 0, "no test is there")])
    return outcomes


def _tests(module: Module) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for head in map(head_of, module.rules):
        name = head.path[0]
        if name.startswith("test_") and head.form in {"complete", "set"} and name not in seen:
            seen.add(name)
            yield name, head.line


def _run(engine: regorus.Engine, module: Module, name: str, line: int) -> Outcome:
    rule = ".".join(("data", *module.package, name))
    engine.set_input_json("{}")
    try:
        value = json.loads(engine.eval_rule_as_json(rule))
    except RuntimeError as error:
        problem = problem_of(module.file, error)
        return Outcome(module.file, problem.line or line, name, False, problem.message)
    if value is True:
        return Outcome(module.file, line, name, True, "")
    shown = "undefined" if value == "<undefined>" else json.dumps(value)[:200]
    return Outcome(module.file, line, name, False, f"the rule is {shown}")
