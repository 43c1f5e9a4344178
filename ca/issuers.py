"""The issuer list: which edges may turn whose external tokens into transaction tokens.

Invariants: only registered workloads stand on the list; external issuers are exact `iss` URLs;
scope is a ceiling of opaque atoms and is never empty by accident; lifetimes stay short.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Final

from ca.authority import IssuerRule
from ca.entries import EntryError, require
from ca.spiffe.ids import SpiffeId

LIFETIME_S_CEILING: Final = 3600
_ITEMS_MAX: Final = 64
_URL: Final = re.compile(r"https?://[\x21-\x7e]{1,512}")
_ATOM: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # scope-token, RFC 6749 3.3


def put(rows: sqlite3.Connection, rule: IssuerRule) -> None:
    """Add or replace the rule of one workload; raise `EntryError`."""
    require(rows, rule.workload)
    _check(rule)
    rows.execute(
        "INSERT OR REPLACE INTO issuers VALUES (?, ?, ?, ?)",
        (
            rule.workload.uri,
            json.dumps(rule.external_issuers),
            json.dumps(sorted(rule.scope)),
            rule.lifetime_s_max,
        ),
    )


def delete(rows: sqlite3.Connection, name: SpiffeId) -> None:
    """Take a workload off the list; raise `EntryError` when it is not on it."""
    if rows.execute("DELETE FROM issuers WHERE workload = ?", (name.uri,)).rowcount == 0:
        raise EntryError(f"{name} is not on the issuer list: see `narrowgate ca issuer list`")


def every(rows: sqlite3.Connection) -> list[IssuerRule]:
    """Return the list in order of workload."""
    return [
        IssuerRule(
            SpiffeId.parse(workload), tuple(json.loads(urls)), tuple(json.loads(scope)), lifetime_s
        )
        for workload, urls, scope, lifetime_s in rows.execute(
            """SELECT workload, external_issuers, scope, lifetime_s_max FROM issuers
               ORDER BY workload"""
        )
    ]


def _check(rule: IssuerRule) -> None:
    if not 0 < len(set(rule.external_issuers)) == len(rule.external_issuers) <= _ITEMS_MAX:
        raise EntryError(f"give 1 to {_ITEMS_MAX} different external issuers")
    if not 0 < len(set(rule.scope)) == len(rule.scope) <= _ITEMS_MAX:
        raise EntryError(f"give 1 to {_ITEMS_MAX} different scope atoms")
    for url in rule.external_issuers:
        if _URL.fullmatch(url) is None:
            raise EntryError(f"external issuer {url!r}: use the exact `iss` value, a URL")
    for atom in rule.scope:
        if _ATOM.fullmatch(atom) is None:
            raise EntryError(f"scope {atom!r}: use printable characters without spaces")
    if not 0 < rule.lifetime_s_max <= LIFETIME_S_CEILING:
        raise EntryError(f"a transaction token lives 1 to {LIFETIME_S_CEILING} seconds")
