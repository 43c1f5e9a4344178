"""The command: exit codes, one-line errors, and nothing heavy before it is needed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar import cli
from sidecar.config import Config, ConfigError

MINIMAL = """\
version: 1
workload: spiffe://shop.example/ns/shop/sa/orders
authority: {bundle_file: bundle.json, join_token_file: token}
inbound: {listen: "127.0.0.1:17106", application: "127.0.0.1:18001"}
"""


@pytest.fixture(autouse=True)
def other_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ca` and `policy` bring their own verbs and tests; here they are one stub each."""
    for name in ("ca", "policy"):
        module = types.ModuleType(f"{name}.cli")
        module.add_verbs = _stub(name)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"{name}.cli", module)
        monkeypatch.setattr(sys.modules[name], "cli", module, raising=False)


def _stub(name: str) -> Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], None]:
    def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        verbs.add_parser(name).set_defaults(func=lambda _: 0)

    return add_verbs


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("sidecar.app")
    monkeypatch.setitem(sys.modules, "sidecar.app", module)
    monkeypatch.setattr(sys.modules["sidecar"], "app", module, raising=False)
    return module


def usage(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


def test_check_says_that_a_file_is_valid(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", str(config)]) == 0
    assert "valid for spiffe://shop.example/ns/shop/sa/orders" in capsys.readouterr().out


def test_check_reports_each_problem_on_its_line(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(MINIMAL + "workers: 0\nbogus: 1\n")
    assert cli.main(["config", "check", str(config)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[1] for line in captured.err.splitlines()] == ["workers", "bogus"]


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Config.schema()


def test_run_hands_the_configuration_to_the_app(config: Path, app: types.ModuleType) -> None:
    seen: list[Config] = []

    def run(given: Config, _: Path) -> int:
        seen.append(given)
        return 7

    app.run = run  # type: ignore[attr-defined]
    assert cli.main(["run", "--config", str(config)]) == 7
    assert seen[0].workers == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(98, "Address already in use"), 1, "narrowgate: [Errno 98] Address already in use"),
        (ValueError("two\nlines"), 1, "narrowgate: two lines"),
        (KeyError("x"), 1, "narrowgate: KeyError: 'x'"),
        (RuntimeError(), 1, "narrowgate: RuntimeError: RuntimeError"),
        (ConfigError(Path("f"), []), 2, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    config: Path,
    app: types.ModuleType,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    says: str,
) -> None:
    def run(_: Config, __: Path) -> int:
        raise error

    app.run = run  # type: ignore[attr-defined]
    assert cli.main(["run", "--config", str(config)]) == code
    assert capsys.readouterr().err.strip() == says


def test_debug_shows_where_it_came_from(config: Path, app: types.ModuleType) -> None:
    def run(_: Config, __: Path) -> int:
        raise ValueError("inside")

    app.run = run  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="inside"):
        cli.main(["--debug", "run", "--config", str(config)])


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["config"], ["config", "check"], ["nonsense"], ["run", "--config"]],
)
def test_usage_errors_are_2(arguments: list[str]) -> None:
    assert usage(arguments) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(["--version"]) == 0
    assert capsys.readouterr().out == f"narrowgate {cli.version()}\n"


def test_the_other_packages_add_their_verbs() -> None:
    assert cli.main(["ca"]) == 0
    assert cli.main(["policy"]) == 0


def test_importing_the_command_imports_nothing_heavy() -> None:
    code = "import sys, sidecar.cli; print('pydantic' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
