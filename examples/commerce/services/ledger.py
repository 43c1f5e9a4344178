"""The ledger: an append-only list of entries, each written once per Idempotency-Key."""

from __future__ import annotations

import sys
from typing import Any

from examples.commerce.services.web import Database, JsonHandler, Settings, plain_server, run

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, account TEXT, reference TEXT,
    amount_cents INTEGER
);
"""


class LedgerHandler(JsonHandler):
    """`POST /entries {"account", "reference", "amount_cents"}`; `GET /balance`."""

    database: Database

    def get(self, path: str) -> tuple[int, object]:
        if path != "/balance":
            return super().get(path)
        with self.database.work() as rows:
            row = rows.execute(
                "SELECT count(*) AS entries, coalesce(sum(amount_cents), 0) AS cents FROM entries"
            ).fetchone()
        return 200, dict(row)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if path != "/entries":
            return super().post(path, body)
        values = (body.get("account"), body.get("reference"), body.get("amount_cents"))
        if not isinstance(values[0], str) or not isinstance(values[1], str):
            return 422, {"error": "an entry has an account and a reference"}
        if type(values[2]) is not int:
            return 422, {"error": "an entry has an integer amount_cents"}
        key = self.headers.get("Idempotency-Key") or values[1]
        with self.database.work() as rows:
            added = rows.execute(
                "INSERT OR IGNORE INTO entries (key, account, reference, amount_cents)"
                " VALUES (?, ?, ?, ?)",
                (key, *values),
            ).rowcount
            row = rows.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
        return 201 if added else 200, dict(row)


def main() -> int:
    """Run the service."""
    LedgerHandler.settings = Settings.from_environment()
    LedgerHandler.database = Database(LedgerHandler.settings.database, SCHEMA)
    return run(plain_server(LedgerHandler.settings, LedgerHandler))


if __name__ == "__main__":
    sys.exit(main())
