"""The command line `narrowgate`: thin verbs that import what they need when they run.

Invariants: exit status 0 is success, 1 a failure while running, 2 a mistake in usage or
configuration; every error is one line (or one for each problem of a file) on standard error; a
traceback appears with --debug only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.func(parsed))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, and so has the point of it.
        sys.stdout = None
        return FAILURE
    except Exception as error:
        if parsed.debug:
            raise
        return _report(error)


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command."""
    from ca.cli import add_verbs as add_ca
    from policy.cli import add_verbs as add_policy

    parser = argparse.ArgumentParser(
        prog="narrowgate", description="A service mesh whose gates stay shut unless all is proven."
    )
    parser.add_argument("--version", action="version", version=f"narrowgate {version()}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_run(verbs)
    _add_config(verbs)
    add_ca(verbs)
    add_policy(verbs)
    return parser


def version() -> str:
    """The installed version, `0+source` for a source tree that is not installed."""
    try:
        return metadata.version("narrowgate")
    except metadata.PackageNotFoundError:
        return "0+source"


def _add_run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = verbs.add_parser("run", help="run the sidecar of one workload")
    run.add_argument("--config", type=Path, required=True, metavar="FILE")
    run.set_defaults(func=_run)


def _add_config(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = verbs.add_parser("config", help="check a configuration, print its schema")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="report every error of a file")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(func=_config_check)
    schema = actions.add_parser("schema", help="print the JSON Schema")
    schema.set_defaults(func=_config_schema)


def _run(arguments: argparse.Namespace) -> int:
    from sidecar.app import run
    from sidecar.config import load

    return run(load(arguments.config), arguments.config)


def _config_check(arguments: argparse.Namespace) -> int:
    from sidecar.config import load

    config = load(arguments.file)
    print(f"{arguments.file}: valid for {config.workload}")
    return SUCCESS


def _config_schema(_: argparse.Namespace) -> int:
    from sidecar.config import Config

    print(json.dumps(Config.schema(), indent=2))
    return SUCCESS


def _report(error: Exception) -> int:
    from sidecar.config import ConfigError

    if isinstance(error, ConfigError):
        print(error, file=sys.stderr)
        return USAGE
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    print(f"narrowgate: {kind}{text}", file=sys.stderr)
    return FAILURE
