"""The command line: every verb has help, nothing heavy is loaded early, refusals are one line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from ca import cli, verbs

_VERBS = [
    ["init"],
    ["serve"],
    ["bundle"],
    ["status"],
    ["entry"],
    ["entry", "create"],
    ["entry", "list"],
    ["entry", "delete"],
    ["token", "create"],
    ["policy", "set"],
    ["policy", "delete"],
    ["issuer", "set"],
    ["issuer", "list"],
    ["issuer", "delete"],
    ["revoke"],
    ["restore"],
    [],
]


@pytest.mark.parametrize("verb", _VERBS, ids=" ".join)
def test_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ca", *verb, "--help"])
    assert ended.value.code == 0
    assert "usage: narrowgate ca" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["entry"],
        ["entry", "create"],
        ["revoke", "--state", "x"],
        ["nonsense"],
        ["revoke", "--state", "x", "--serial", "1", "--key", "2"],
    ],
)
def test_wrong_arguments_exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ca", *arguments])
    assert ended.value.code == 2


def test_it_fits_into_the_whole_command(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser(prog="narrowgate")
    cli.add_verbs(parser.add_subparsers())
    arguments = parser.parse_args(["ca", "status", "--state", str(tmp_path / "absent")])
    assert arguments.func(arguments) == 1


def test_every_verb_has_its_function() -> None:
    parser = argparse.ArgumentParser(prog="narrowgate")
    cli.add_verbs(parser.add_subparsers())
    found = set()
    for verb in _VERBS:
        for extra in (
            [],
            ["--trust-domain=a"],
            ["--id=a"],
            ["--token=a"],
            ["--id=a", "d"],
            ["--id=a", "--external-issuer=a", "--scope=a"],
        ):
            try:
                parsed = parser.parse_args(["ca", *verb, "--state=x", *extra])
            except SystemExit:
                continue
            found.add(parsed.verb)
    assert found == set(verbs.VERBS)


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys, ca.cli\n"
        "import argparse\n"
        "ca.cli.add_verbs(argparse.ArgumentParser().add_subparsers())\n"
        "heavy = {'aiohttp', 'cryptography', 'sqlite3', 'asyncio', 'jwt'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)\n"
    )
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_refusal_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ca", "bundle", "--state", str(tmp_path / "absent")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert "narrowgate ca init" in printed.err
