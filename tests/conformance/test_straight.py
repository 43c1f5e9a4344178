"""Generated policies that cannot loop: the walker alone answers as OPA does, or fails loudly."""

from __future__ import annotations

import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from policy import engines
from policy.bundle import PolicyBundle, PolicyError
from policy.engines import EngineFault
from policy.loading import compile_engine
from tests.conformance.opa_process import running
from tests.conformance.test_opa_cases import canonical

POLICIES: Final = 400
INPUTS: Final[list[dict[str, Any]]] = [
    {"a": 1, "b": "x", "l": [1, 2], "o": {"k": {"v": [3]}}, "t": True},
    {"a": 2, "l": [], "o": {"k": 1}, "t": False},
    {"b": None, "o": {}},
    {},
]
INPUT_ATOMS: Final = (
    *("input.a", "input.b", "input.l", "input.l[0]", "input.l[7]", "input.o.k", "input.t"),
    *("input.o.k.v[0]", "input.none", 'input.o["k"]'),
)
ATOMS: Final = (*("1", "2", '"x"', "true", "null", "[]", "[1, 2]", "{1}"), *INPUT_ATOMS)
RULES: Final = ("s", "p", "q.one", "q.two", "r0", "r1")
NAMES: Final = ("x", "y", "z")


class Generator:
    """Straight policies from a seed; most of them are sound, not all."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._bound: list[str] = []
        self._atoms: list[str] = []

    def policy(self) -> str:
        """The rules of `RULES` and `allow`, each of which may read those before it."""
        rules = []
        for name in (*RULES, "allow"):
            self._atoms = [*ATOMS, *RULES[: RULES.index(name) if name in RULES else None] * 2]
            if name in {"r0", "allow"}:
                rules.append(self._rule(name))
            rules.append(self._plain(name))
        if self._random.random() < 0.5:
            rules.append("default r0 := 3")
        self._random.shuffle(rules)
        return "\n\n".join(rules)

    def _plain(self, name: str) -> str:
        if name == "s":
            return f's contains "x" if {self._body()}'
        if name in {"p", "q.one"}:
            self._bound = []
            return f"{name} := {self._term(0)}"
        return f"q.two := 2 if {self._body()}" if name == "q.two" else self._rule(name)

    def _rule(self, name: str) -> str:
        value = self._random.choice(["true", "true", "true", "1", "input.a", '{"v": input.b}'])
        text = f"{name} := {value} if {self._body()}"
        if self._random.random() < 0.2:
            text += f" else := 5 if {self._body()}"
        return text

    def _body(self) -> str:
        self._bound = []
        statements = [self._statement() for _ in range(self._random.randint(1, 4))]
        if self._random.random() < 0.5:  # order means nothing in Rego
            self._random.shuffle(statements)
        return "{ " + "; ".join(statements) + " }"

    def _statement(self) -> str:
        one, two = self._input(), self._term(1)
        if self._random.random() < 0.3:
            one = self._shape(one)
        kind = self._random.randrange(10)
        free = [name for name in NAMES if name not in self._bound]
        if kind < 3 and free:
            self._bound.append(free[0])
            text = f"{free[0]} {self._random.choice([':=', ':=', '='])} {two}"
            return f"[{free[0]}, 2] = {one}" if self._random.random() < 0.2 else text
        if kind < 6:
            return f"{one} {self._random.choice(['==', '!=', '<', '=='])} {two}"
        if kind < 7:
            return f"{one} in [{two}, {self._input()}]" if two[0] != "{" else f"{one} in {two}"
        if kind < 9:  # `not` over a call: see "What it costs" in ADR 2
            return f"not {self._input()}" + self._random.choice(["", " == 1", ' == "x"'])
        return one

    def _input(self) -> str:
        """A term whose type OPA does not know, so that it refuses less of it."""
        return self._random.choice(INPUT_ATOMS)

    def _term(self, depth: int) -> str:
        if self._bound and self._random.random() < 0.3:
            return self._random.choice(self._bound)
        atom = self._random.choice(self._atoms)
        return self._shape(atom) if depth and self._random.random() < 0.4 else atom

    def _shape(self, atom: str) -> str:
        other = self._term(0)
        return self._random.choice(
            [
                f"[{atom}, {other}]",
                f"{{{atom}, {other}}}",
                f'{{"m": {atom}, "n": {other}}}',
                f'object.get({self._input()}, "k", {other})',
                f"({self._input()} + {self._input()})",
                f"count({self._input()})",
            ]
        )


def accepted_by_opa(binary: Path, folder: Path, policies: dict[str, str]) -> list[str]:
    """The packages that OPA takes; its type checker refuses more than ours."""
    folder.mkdir()
    for package, text in policies.items():
        (folder / f"{package}.rego").write_text(text)
    for _ in range(20):  # OPA stops at the first stage with a problem
        command = [binary, "check", "--max-errors=-1", "--format=json", folder]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            return [package for package in policies if (folder / f"{package}.rego").exists()]
        for error in json.loads(done.stderr or done.stdout)["errors"]:
            Path(error["location"]["file"]).unlink(missing_ok=True)
    raise AssertionError("OPA refuses what is left")


async def differences(socket: Path, policies: dict[str, str], loaded: dict[str, Any]) -> list[str]:
    """Every answer of ours that is neither OPA's nor a fault."""
    wrong = []
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        for package, engine in loaded.items():
            for value in INPUTS:
                url = f"http://opa/v1/data/{package}/allow"
                async with session.post(url, json={"input": value}) as response:
                    theirs = await response.json()
                try:
                    ours = engine.answer(orjson.dumps(value))
                except EngineFault:
                    continue
                expected = {} if ours is engines.UNDEFINED else {"result": ours}
                if response.status != 200 or canonical(theirs) != canonical(expected):
                    wrong.append(f"{policies[package]}\n{value}\nours {ours}, OPA {theirs}")
    return wrong


async def test_the_walker_alone_is_never_silently_wrong(opa_binary: Path, tmp_path: Path) -> None:
    policies, loaded = {}, {}
    for seed in range(POLICIES):
        package = f"g{seed}"
        text = f"package {package}\n\nimport rego.v1\n\n{Generator(seed).policy()}\n"
        with suppress(PolicyError):
            engine = compile_engine(PolicyBundle.of({"p.rego": text}, {}), f"{package}/allow")
            policies[package], loaded[package] = text, engine
    kept = accepted_by_opa(opa_binary, tmp_path / "policies", policies)
    assert len(kept) > POLICIES / 5
    async with running(opa_binary, tmp_path / "opa.sock", tmp_path / "policies"):
        wrong = await differences(
            tmp_path / "opa.sock", policies, {package: loaded[package] for package in kept}
        )
    assert not wrong, "\n\n".join(wrong[:10])
