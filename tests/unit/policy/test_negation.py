"""`not` over something that may be undefined is refused; what cannot be is let through."""

from __future__ import annotations

import pytest

from policy.bundle import PolicyBundle
from policy.lint import read_modules
from policy.negation import undefined_under_not

HEAD = """package a

import rego.v1
import data.other.names
import input.attributes.request.http.headers as headers

default role := ""

kind := input.kind

members contains input.member

"""


def lines(source: str) -> list[int]:
    modules, problems = read_modules(PolicyBundle.of({"a.rego": HEAD + source}, {}))
    assert not problems
    return [problem.line - HEAD.count("\n") for problem in undefined_under_not(modules)]


@pytest.mark.parametrize(
    "body",
    [
        'not startswith(input.role, "guest")',
        'not input.role in {"guest"}',
        'not "x" in input.narrowgate.token.scope',
        'not input.role != "owner"',
        "not input.age > 18",
        "not count(input.list) == 1",
        'not startswith(headers.role, "guest")',
        'not startswith(kind, "k")',
        'not startswith(data.a.kind, "k")',
        'not "x" in names',
        "not input.a + 1 == 2",
        'not startswith(lower(input.role), "guest")',
        'not "guest" in [input.role]',
        'not "guest" in {"k": input.role}',
        'user := {"name": input.name}; not startswith(user.name, "m")',
    ],
)
def test_refused(body: str) -> None:
    assert lines(f"allow if {{ {body} }}") == [1]


@pytest.mark.parametrize(
    "body",
    [
        "not input.blocked",
        "not kind",
        "not data.other.blocked",
        'not input.role == "guest"',
        'not kind == "k"',
        'role_given := input.role; not startswith(role_given, "guest")',
        'not startswith(input.attributes.request.http.path, "/admin")',
        'not input.attributes.request.http.method in {"GET", "HEAD"}',
        'not startswith(role, "guest")',
        'not "m" in members',
        'not "x" in ["x"]',
        'some part in input.parts; not startswith(part, "x")',
    ],
)
def test_let_through(body: str) -> None:
    assert lines(f"allow if {{ {body} }}") == []


def test_every_one_is_named() -> None:
    source = "allow if {\n\tnot input.a in {1}\n\tnot input.b\n\tnot input.c != 2\n}\n"
    assert sorted(lines(source)) == [2, 4]
