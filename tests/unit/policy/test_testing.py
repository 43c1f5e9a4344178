"""The runner of a policy's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.bundle import PolicyError
from policy.testing import run_tests

POLICY = "package p\n\nimport rego.v1\n\nok if input.a == 1\n"
TESTS = """package p_test

import data.p
import rego.v1

test_passes if p.ok with input as {"a": 1}

test_undefined if p.ok with input as {}

test_one := 1

test_error if json.unmarshal("{")

helper := false
"""


def test_outcomes(tmp_path: Path) -> None:
    (tmp_path / "p.rego").write_text(POLICY)
    (tmp_path / "p_test.rego").write_text(TESTS)
    outcomes = run_tests(tmp_path)
    assert [(one.name, one.line, one.passed) for one in outcomes] == [
        ("test_passes", 6, True),
        ("test_undefined", 8, False),
        ("test_one", 10, False),
        ("test_error", 12, False),
    ]
    assert str(outcomes[0]) == "PASS p_test.rego:6 test_passes"
    assert str(outcomes[1]) == "FAIL p_test.rego:8 test_undefined: the rule is undefined"


def test_no_test_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "p.rego").write_text(POLICY)
    with pytest.raises(PolicyError, match="no test"):
        run_tests(tmp_path)


def test_a_test_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "p_test.rego").write_text("package p\ntest_a if {")
    with pytest.raises(PolicyError, match=r"p_test\.rego:2"):
        run_tests(tmp_path)
