"""Reads what the gates and the applications wrote down: decision records and request lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WAIT_S = 5.0


class Decision(NamedTuple):
    """One decision record of a gate."""

    id: str
    gate: str
    outcome: str
    reason: str
    path: str
    scope: frozenset[str]
    hops: tuple[str, ...]


def decisions(log: Path, offset: int = 0) -> Iterator[Decision]:
    """The decision records of a log from byte `offset` on, oldest first."""
    for record in _lines(log, offset):
        scope = record.get("scope") or ()
        hops = record.get("hops") or ()
        yield Decision(
            id=str(record.get("decision") or record.get("decision_id") or record.get("id")),
            gate=str(record.get("gate")),
            outcome=str(record.get("outcome")),
            reason=str(record.get("reason") or ""),
            path=str(record.get("path") or ""),
            scope=frozenset(scope.split() if isinstance(scope, str) else scope),
            hops=tuple(str(hop) for hop in hops) if isinstance(hops, list | tuple) else (),
        )


def size(log: Path) -> int:
    """How long a log is now; an offset for later."""
    return log.stat().st_size if log.exists() else 0


def await_decision(
    log: Path, wanted: Callable[[Decision], bool], offset: int = 0
) -> Decision | None:
    """The last decision after `offset` that is wanted, waiting for it to be written."""
    end_s = time.monotonic() + WAIT_S
    while True:
        found = [decision for decision in decisions(log, offset) if wanted(decision)]
        if found:
            return found[-1]
        if time.monotonic() > end_s:
            return None
        time.sleep(0.02)


def await_line(log: Path, wanted: str, offset: int = 0) -> str:
    """The first text after `offset` with a line that says `wanted`; empty when none came."""
    end_s = time.monotonic() + WAIT_S
    while True:
        with log.open("rb") as stream:
            stream.seek(offset)
            text = stream.read().decode(errors="replace")
        if wanted in text or time.monotonic() > end_s:
            return text if wanted in text else ""
        time.sleep(0.02)


def requests(log: Path, offset: int = 0) -> list[dict[str, Any]]:
    """The request lines of an application, with the fields it received under `headers`."""
    return [line for line in _lines(log, offset) if "method" in line]


def _lines(log: Path, offset: int) -> Iterator[dict[str, Any]]:
    """The JSON objects of a log; a line that is not complete yet is left for later."""
    if not log.exists():
        return
    with log.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
