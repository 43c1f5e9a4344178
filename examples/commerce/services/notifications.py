"""Notifications: keeps the messages for customers in an outbox, once per Idempotency-Key."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from examples.commerce.services.web import Database, JsonHandler, Settings, plain_server, run

SCHEMA = "CREATE TABLE IF NOT EXISTS outbox (key TEXT PRIMARY KEY, recipient TEXT, text TEXT);"


class NotificationsHandler(JsonHandler):
    """`POST /messages {"to", "text"}` -> 202."""

    database: Database

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if path != "/messages":
            return super().post(path, body)
        recipient, text = body.get("to"), body.get("text")
        if not isinstance(recipient, str) or not isinstance(text, str):
            return 422, {"error": "a message has to and text"}
        key = self.headers.get("Idempotency-Key") or uuid.uuid4().hex
        with self.database.work() as rows:
            rows.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", (key, recipient, text))
        return 202, {"id": key}


def main() -> int:
    """Run the service."""
    NotificationsHandler.settings = Settings.from_environment()
    NotificationsHandler.database = Database(NotificationsHandler.settings.database, SCHEMA)
    return run(plain_server(NotificationsHandler.settings, NotificationsHandler))


if __name__ == "__main__":
    sys.exit(main())
