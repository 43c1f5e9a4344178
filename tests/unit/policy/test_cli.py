"""The verbs, and the starter library that ships with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policy.cli import main

LIBRARY = Path(__file__).parents[3] / "policy" / "rego"
INBOUND = "package envoy.authz\n\nimport rego.v1\n\nallow := input.ok\n"
OUTBOUND = "package narrowgate.outbound\n\nimport rego.v1\n\nallow := false\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "in.rego").write_text(INBOUND)
    (tmp_path / "out.rego").write_text(OUTBOUND)
    return tmp_path


def test_the_starter_library_loads_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(LIBRARY)]) == 0
    assert main(["policy", "test", str(LIBRARY)]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_check(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(directory)]) == 0
    (directory / "in.rego").write_text(INBOUND + "\nallow if http.send({})\n")
    assert main(["policy", "check", str(directory)]) == 1
    assert "in.rego:7: `http.send`" in capsys.readouterr().err


def test_check_one_decision(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "out.rego").unlink()
    assert main(["policy", "check", str(directory)]) == 1
    assert "data.narrowgate.outbound.allow" in capsys.readouterr().err
    assert main(["policy", "check", str(directory), "--decision", "envoy/authz/allow"]) == 0


def test_check_of_nothing(tmp_path: Path) -> None:
    assert main(["policy", "check", str(tmp_path)]) == 1
    assert main(["policy", "test", str(tmp_path)]) == 2


def test_failing_tests(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "in_test.rego").write_text("package t\n\nimport rego.v1\n\ntest_a := false\n")
    assert main(["policy", "test", str(directory)]) == 1
    assert "FAIL in_test.rego:5 test_a: the rule is false" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("document", "status", "outcome", "reason"),
    [
        ({"ok": True}, 0, "permit", ""),
        ({"ok": False}, 1, "denial", "policy_denied"),
        ({"ok": 1}, 1, "denial", "policy_malformed"),
        ({}, 1, "denial", "policy_undefined"),
    ],
)
def test_eval(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    document: object,
    status: int,
    outcome: str,
    reason: str,
) -> None:
    (directory / "input.json").write_text(json.dumps(document))
    arguments = ["policy", "eval", str(directory), "--input", str(directory / "input.json")]
    assert main(arguments) == status
    shown = json.loads(capsys.readouterr().out)
    assert (shown["outcome"], shown["reason"]) == (outcome, reason)


def test_eval_without_an_input(directory: Path) -> None:
    assert main(["policy", "eval", str(directory), "--input", str(directory / "none")]) == 2
