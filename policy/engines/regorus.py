"""The embedded engine: two evaluators of regorus that must agree, and one that bounds the other.

The tree walker follows OPA and reports conflicts and type errors, but cannot be stopped; it judges
alone where nothing can loop. Any other policy runs first on the virtual machine, which stops after
25,000 instructions, and only an answer that both give is an answer
(docs/adr/0002-embedded-rego.md).

Invariants: a policy is loaded whole and linted, or not at all; both evaluators take it;
after any fault both are replaced by fresh ones; cancellation and interpreter exit pass through.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, Self

import orjson

# A fault must not cost 100 ms of stack unwinding, and a panic must not print addresses.
os.environ.setdefault("RUST_LIB_BACKTRACE", "0")

import regorus

from policy import lint
from policy.bounding import bounding
from policy.bundle import PolicyBundle, PolicyError, Problem
from policy.engines import UNDEFINED, EngineFault
from policy.input import Needs
from policy.reason import Reason
from policy.syntax import Module, file_of, parse, problem_of

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNDEFINED: Final = "<undefined>"
_ENTRY: Final = "narrowgate.decision__"
_LIMIT: Final = "instruction limit"
_PASS: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


class RegorusEngine:
    """One loaded policy and one decision of it, evaluated in this process."""

    def __init__(
        self, modules: Sequence[Module], data: Mapping[str, object], rule: str, needs: Needs
    ) -> None:
        """An engine for `rule` (`data.envoy.authz.allow`) of modules that were linted; see `load`.

        Raises:
            PolicyError: the machine does not take the modules.
        """
        self._rule: Final = rule
        self._needs: Final = needs
        self._data: Final = orjson.dumps(data).decode()
        # Always compiled: the machine's compiler is the one that finds unsafe variables at load.
        program = _compile(bounding(modules), self._data, rule)
        self._program: Final = None if lint.straight(modules) else program
        guard = lint.guards(modules)
        self._inexact: Final = None if guard is None else re.compile(guard)
        self._template: Final = _walker(modules, self._data)
        self._machine: regorus.Rvm | None
        self._walker: regorus.Engine
        self._renew()

    @classmethod
    def load(cls, bundle: PolicyBundle, decision: str) -> Self:
        """The engine for `decision` (`envoy/authz/allow`) of `bundle`.

        Raises:
            PolicyError: everything that is wrong with the policy.
        """
        path = tuple(decision.split("/"))
        if not all(map(_NAME.match, path)):
            raise PolicyError([Problem("policy", 0, f"`{decision}` is not a decision path")])
        modules, problems = lint.read_modules(bundle)
        problems += lint.problems(modules, bundle.data, path)
        if problems:
            raise PolicyError(problems)
        needs = lint.needs(modules)
        rule = ".".join(("data", *path))
        if lint.is_object(modules, path):
            # The walker evaluates no rule that is made of members; one that reads it, it does.
            entry = parse("decision", f"package {_ENTRY}\n\nimport rego.v1\n\nanswer := {rule}\n")
            if isinstance(entry, Problem):
                raise PolicyError([entry])
            modules, rule = [*modules, entry], f"data.{_ENTRY}.answer"
        return cls(modules, bundle.data, rule, needs)

    @property
    def needs(self) -> Needs:
        """What the loaded policy reads of its input."""
        return self._needs

    async def evaluate(self, document: bytes) -> object:
        """As `answer`."""
        return self.answer(document)

    def answer(self, document: bytes) -> object:
        """The decision for `document`.

        A policy that cannot loop is judged by the walker alone. For any other, the machine's run
        comes first, as the bound, and both have to give the same answer.

        Raises:
            EngineFault: policy_timeout, policy_error, policy_crashed or policy_disagreed.
        """
        if self._inexact is not None and self._inexact.search(document):
            raise EngineFault(Reason.POLICY_ERROR, "a function in use is inexact on this input")
        text = document.decode()
        machine = self._machine
        bound = None
        try:
            if machine is not None:
                machine.set_input_json(text)
                bound = machine.execute()
            self._walker.set_input_json(text)
            answer = self._walker.eval_rule_as_json(self._rule)
        except _PASS:
            self._renew()
            raise
        except BaseException as error:  # a panic arrives as a BaseException
            self._renew()
            raise _fault(error) from None
        if answer == _UNDEFINED_TEXT and bound in {None, answer}:
            return UNDEFINED
        value = _pruned(orjson.loads(answer))
        if bound not in {None, answer} and not _same(_pruned(orjson.loads(str(bound))), value):
            raise EngineFault(Reason.POLICY_DISAGREED, "the evaluators give different answers")
        return value

    async def close(self) -> None:
        """Nothing is held open."""

    def _renew(self) -> None:
        """Fresh evaluators: nothing of a run that failed is used again."""
        self._machine = None
        if self._program is not None:
            self._machine = regorus.Rvm()
            self._machine.load_program(self._program)
            self._machine.set_data_json(self._data)
        self._walker = self._template.clone()


_UNDEFINED_TEXT: Final = orjson.dumps(_UNDEFINED).decode()


def _compile(sources: list[tuple[str, str]], data: str, rule: str) -> regorus.Program:
    try:
        return regorus.Program.compile_from_modules(data, sources, [rule])
    except _PASS:
        raise
    except BaseException as error:
        file = file_of(error, sources[0][0] if len(sources) == 1 else "policy")
        raise PolicyError([problem_of(file, error)]) from None


def _walker(modules: Sequence[Module], data: str) -> regorus.Engine:
    engine = regorus.Engine()
    for module in modules:
        engine.add_policy(module.file, module.source.decode())
    engine.add_data_json(data)
    return engine


def _fault(error: BaseException) -> EngineFault:
    if not isinstance(error, Exception):
        return EngineFault(Reason.POLICY_CRASHED, type(error).__name__)
    if _LIMIT in str(error):
        return EngineFault(Reason.POLICY_TIMEOUT, "over the instruction limit")
    return EngineFault(Reason.POLICY_ERROR, str(problem_of(file_of(error, "policy"), error)))


def _same(first: object, second: object) -> bool:
    """Equal as JSON: 1, 1.0 and true are three different values."""
    option = orjson.OPT_SORT_KEYS
    return orjson.dumps(first, option=option) == orjson.dumps(second, option=option)


def _pruned(value: object) -> object:
    """`value` without members that are undefined, which the machine leaves in objects."""
    if isinstance(value, dict):
        return {key: _pruned(one) for key, one in value.items() if one != _UNDEFINED}
    if isinstance(value, list):
        return [_pruned(one) for one in value]
    return value
