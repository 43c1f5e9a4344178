"""The verbs `narrowgate policy check | test | eval`.

Invariants: exit status 0 means checked, all passed, or permitted, and nothing else does; problems
go to standard error one per line as `file:line: message`, results to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

DECISIONS: Final = ("envoy/authz/allow", "narrowgate/outbound/allow")
_FAILED: Final = 1
_UNUSABLE: Final = 2


def add_verbs(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `policy` and its verbs; nothing heavy is imported before a verb runs."""
    policy = subparsers.add_parser("policy", help="check, test and evaluate policy")
    verbs = policy.add_subparsers(dest="policy_verb", required=True)
    check = verbs.add_parser("check", help="load a policy as a gate would")
    check.add_argument("directory", type=Path)
    check.add_argument("--decision", action="append", metavar="PATH", help="default: both gates'")
    check.set_defaults(func=_check)
    test = verbs.add_parser("test", help="run the test_* rules of *_test.rego")
    test.add_argument("directory", type=Path)
    test.set_defaults(func=_test)
    evaluate = verbs.add_parser("eval", help="judge one input document")
    evaluate.add_argument("directory", type=Path)
    evaluate.add_argument("--input", type=Path, required=True, metavar="FILE", help="- for stdin")
    evaluate.add_argument("--decision", default=DECISIONS[0], metavar="PATH")
    evaluate.set_defaults(func=_eval)


def _check(arguments: argparse.Namespace) -> int:
    from policy.bundle import PolicyError, load_directory
    from policy.loading import compile_engine

    problems: set[str] = set()
    try:
        bundle = load_directory(arguments.directory)
    except PolicyError as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    for decision in arguments.decision or DECISIONS:
        try:
            compile_engine(bundle, decision)
        except PolicyError as error:
            problems.update(map(str, error.problems))
    if problems:
        sys.stderr.write("".join(f"{problem}\n" for problem in sorted(problems)))
        return _FAILED
    sys.stdout.write(f"{len(bundle.modules)} modules, revision {bundle.revision[:16]}: good\n")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from policy.bundle import PolicyError
    from policy.testing import run_tests

    try:
        outcomes = run_tests(arguments.directory)
    except PolicyError as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE
    for outcome in outcomes:
        sys.stdout.write(f"{outcome}\n")
    failed = sum(not outcome.passed for outcome in outcomes)
    sys.stdout.write(f"{len(outcomes) - failed} passed, {failed} failed\n")
    return _FAILED if failed else 0


def _eval(arguments: argparse.Namespace) -> int:
    from policy.bundle import PolicyError, load_directory
    from policy.engines import EngineFault
    from policy.loading import compile_engine

    try:
        text = sys.stdin.read() if str(arguments.input) == "-" else arguments.input.read_text()
        document = json.dumps(json.loads(text)).encode()
        engine = compile_engine(load_directory(arguments.directory), arguments.decision)
    except (OSError, ValueError, PolicyError) as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE
    try:
        answer = asyncio.run(engine.evaluate(document))
    except EngineFault as fault:
        return _show("denial", fault.reason.label, fault.detail, None)
    return _judge(answer)


def _judge(answer: object) -> int:
    from policy.engines import UNDEFINED
    from policy.verdict import Refusal, read

    if answer is UNDEFINED:
        return _show("denial", "policy_undefined", "", None)
    try:
        read(answer)
    except Refusal as refusal:
        return _show("denial", refusal.reason.label, refusal.detail, answer)
    return _show("permit", "", "", answer)


def _show(outcome: str, reason: str, detail: str, answer: object) -> int:
    shown = {"outcome": outcome, "reason": reason, "detail": detail, "answer": answer}
    sys.stdout.write(json.dumps(shown) + "\n")
    return 0 if outcome == "permit" else _FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: `main(["policy", "check", "DIR"])`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="narrowgate")
    add_verbs(parser.add_subparsers(dest="verb", required=True))
    arguments = parser.parse_args(argv)
    return int(arguments.func(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
