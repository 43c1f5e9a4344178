"""OPA's own v1 cases through the engine as it is loaded: no answer is ever silently wrong.

A case passes, is refused at load, or fails loudly. The counts are a ratchet: more passes are
welcome (raise the number), fewer are a regression, and a wrong answer is never accepted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from policy import engines
from policy.bundle import PolicyBundle, PolicyError
from policy.engines import EngineFault
from policy.loading import compile_engine

PASSED_MIN: Final = 871
LOUD_MAX: Final = 58
INAPPLICABLE_MAX: Final = 174
_QUERY: Final = re.compile(r"\s*(data\.[\w.]+)\s*=\s*x\s*")
_INPUT: Final = re.compile(r"\binput\b")


def canonical(value: Any) -> str:
    """Text that is equal for equal answers; sets arrive as lists in any order."""
    if isinstance(value, dict):
        pairs = sorted(f"{json.dumps(key)}:{canonical(one)}" for key, one in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(canonical, value))) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value)
    return repr(float(value)) if abs(value) < 1e15 else str(value)


def applicable(case: dict[str, Any]) -> str | None:
    """The rule the case asks for; `None` when a gate never asks like that.

    A gate asks for one rule and always has an input object.
    """
    found = _QUERY.fullmatch(case["query"])
    if found is None or "input_term" in case:
        return None
    absent = "input" not in case
    if absent and any(_INPUT.search(module) for module in case.get("modules") or []):
        return None
    return found[1]


async def outcome(case: dict[str, Any]) -> str:
    """`passed`, `refused`, `loud`, `inapplicable` or `wrong`."""
    rule = applicable(case)
    if rule is None:
        return "inapplicable"
    modules = {f"m{index}.rego": text for index, text in enumerate(case.get("modules") or [])}
    modules["asked.rego"] = f"package asked\n\nimport rego.v1\n\nanswer := {rule}\n"
    try:
        engine = compile_engine(PolicyBundle.of(modules, case.get("data") or {}), "asked/answer")
    except PolicyError:
        return "refused"
    try:
        answer = await engine.evaluate(json.dumps(case.get("input", {})).encode())
    except EngineFault:
        return "loud"
    if "want_error" in case or "want_error_code" in case:
        return "wrong"
    results = case.get("want_result") or []
    if not results or answer is engines.UNDEFINED:
        return "passed" if not results and answer is engines.UNDEFINED else "wrong"
    return "passed" if canonical(answer) == canonical(results[0]["x"]) else "wrong"


async def outcomes(cases: list[dict[str, Any]]) -> list[str]:
    return [await outcome(case) for case in cases]


def test_no_case_is_silently_wrong(rego_corpus: Path) -> None:
    cases = json.loads(rego_corpus.read_text())["cases"]
    results = asyncio.run(outcomes(cases))
    wrong = [case["note"] for case, result in zip(cases, results, strict=True) if result == "wrong"]
    assert wrong == []
    counts = Counter(results)
    assert counts["passed"] >= PASSED_MIN, counts
    assert counts["loud"] <= LOUD_MAX, counts
    assert counts["inapplicable"] <= INAPPLICABLE_MAX, counts
