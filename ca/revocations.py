"""Revocations: five kinds of names that no gate and no endpoint of the authority accepts.

Invariants: a revocation takes effect with its commit and raises the epoch; workloads and keys stay
revoked until they are restored by hand, while serials, transactions and token ids, which cannot
outlive the longest lifetime that we issue, are forgotten after it, so that the list is bounded.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from ca.entries import LIFETIME_S_MAX
from ca.spiffe.ids import SpiffeId, SpiffeIdError
from ca.store import increase, meta

REVOCATIONS_MAX: Final = 50_000
_FORGET_AFTER_S: Final = LIFETIME_S_MAX + 3600
_SERIAL: Final = re.compile(r"[0-9a-f]{1,40}")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_TEXT: Final = re.compile(r"[\x21-\x7e]{1,256}")


class Kind(StrEnum):
    """What is revoked; the values are the keys of the `revocations` section."""

    SERIAL = "serials"
    WORKLOAD = "workloads"
    KEY = "keys"
    TRANSACTION = "transactions"
    TOKEN = "tokens"  # noqa: S105


_FORGOTTEN: Final = (Kind.SERIAL, Kind.TRANSACTION, Kind.TOKEN)


class RevocationError(ValueError):
    """The value cannot be revoked as that kind; the text says why."""


def serial_text(serial: int) -> str:
    """Return the one spelling of a serial number: lower-case hexadecimal, no leading zeros."""
    return f"{serial:x}"


def normal(kind: Kind, value: str) -> str:
    """Check a value and return its one spelling; raise `RevocationError`."""
    match kind:
        case Kind.SERIAL:
            text = value.lower().removeprefix("0x").replace(":", "").lstrip("0")
            if _SERIAL.fullmatch(text) is None:
                raise RevocationError(f"{value!r} is not a hexadecimal serial number")
            return text
        case Kind.WORKLOAD:
            try:
                return SpiffeId.parse(value).uri
            except SpiffeIdError as error:
                raise RevocationError(f"{value!r}: {error}") from error
        case Kind.KEY:
            if _THUMBPRINT.fullmatch(value) is None:
                raise RevocationError(f"{value!r} is not an RFC 7638 thumbprint (43 characters)")
            return value
        case _:
            if _TEXT.fullmatch(value) is None:
                raise RevocationError(f"{value!r} is not 1 to 256 printable characters")
            return value


def revoke(rows: sqlite3.Connection, kind: Kind, value: str, now_s: float) -> None:
    """Revoke a value, forget what has run out, raise the epoch."""
    value = normal(kind, value)
    rows.execute(
        f"DELETE FROM revocations WHERE revoked_s < ? AND kind IN ({_marks(_FORGOTTEN)})",  # noqa: S608
        (now_s - _FORGET_AFTER_S, *_FORGOTTEN),
    )
    if rows.execute("SELECT count(*) FROM revocations").fetchone()[0] >= REVOCATIONS_MAX:
        raise RevocationError(f"at most {REVOCATIONS_MAX} revocations: restore old ones first")
    rows.execute(
        """INSERT INTO revocations VALUES (?, ?, ?)
           ON CONFLICT DO UPDATE SET revoked_s = excluded.revoked_s""",
        (kind, value, now_s),
    )
    increase(rows, "revocation_epoch")


def restore(rows: sqlite3.Connection, kind: Kind, value: str) -> None:
    """Take a revocation back; raise `RevocationError` when there is none."""
    found = rows.execute(
        "DELETE FROM revocations WHERE kind = ? AND value = ?", (kind, normal(kind, value))
    )
    if found.rowcount == 0:
        raise RevocationError(f"{value} is not revoked")
    increase(rows, "revocation_epoch")


def revoked(rows: sqlite3.Connection, names: Iterable[tuple[Kind, str]]) -> Kind | None:
    """Return the kind of the first name that is revoked, or None."""
    for kind, value in names:
        row = rows.execute(
            "SELECT 1 FROM revocations WHERE kind = ? AND value = ?", (kind, value)
        ).fetchone()
        if row is not None:
            return kind
    return None


def section(rows: sqlite3.Connection) -> dict[str, object]:
    """Return the `revocations` section of the control stream."""
    lists: dict[str, list[str]] = {kind.value: [] for kind in Kind}
    for kind, value in rows.execute("SELECT kind, value FROM revocations ORDER BY kind, value"):
        lists[kind].append(value)
    return {"epoch": int(meta(rows, "revocation_epoch")), **lists}


def _marks(values: tuple[Kind, ...]) -> str:
    return ", ".join("?" for _ in values)
