"""Payments: charges an order once per Idempotency-Key and has the ledger write it down."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

from examples.commerce.services.web import (
    Database,
    JsonHandler,
    Settings,
    plain_server,
    post,
    run,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, order_id TEXT, amount_cents INTEGER, entry INTEGER
);
"""


class PaymentsHandler(JsonHandler):
    """`POST /charges {"order", "amount_cents"}` -> 201 with the charge, 200 when repeated."""

    database: Database
    ledger_url: str

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if path != "/charges":
            return super().post(path, body)
        order, amount = body.get("order"), body.get("amount_cents")
        if not isinstance(order, str) or type(amount) is not int or amount <= 0:
            return 422, {"error": "a charge has an order and a positive amount_cents"}
        charge = self._take(self.headers.get("Idempotency-Key") or order, order, amount)
        if charge["entry"] is not None:
            return 200, charge
        line = {"account": "sales", "reference": charge["id"], "amount_cents": amount}
        fields = {name.lower(): value for name, value in self.headers.items()}
        written = post(f"{self.ledger_url}/entries", line, fields, charge["id"])
        if not written.ok:
            return 502, {"error": "the ledger refused", "ledger_status": written.status}
        with self.database.work() as rows:
            rows.execute(
                "UPDATE charges SET entry = ? WHERE id = ?", (written.body["id"], charge["id"])
            )
        return 201, {**charge, "entry": written.body["id"]}

    def _take(self, key: str, order: str, amount: int) -> dict[str, Any]:
        with self.database.work() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, NULL)",
                (uuid.uuid4().hex, key, order, amount),
            )
            return dict(rows.execute("SELECT * FROM charges WHERE key = ?", (key,)).fetchone())


def main() -> int:
    """Run the service; `LEDGER_URL` says where the ledger is."""
    PaymentsHandler.settings = Settings.from_environment()
    PaymentsHandler.database = Database(PaymentsHandler.settings.database, SCHEMA)
    PaymentsHandler.ledger_url = os.environ.get("LEDGER_URL", "http://ledger")
    return run(plain_server(PaymentsHandler.settings, PaymentsHandler))


if __name__ == "__main__":
    sys.exit(main())
