"""Orders: takes an order once per Idempotency-Key, has it paid, tells the customer."""

from __future__ import annotations

import os
import sqlite3
import sys
import uuid
from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from examples.commerce.services.flask_app import create, flask_server, json_body
from examples.commerce.services.web import Database, Settings, post, run

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, sku TEXT, quantity INTEGER, total_cents INTEGER,
    email TEXT, status TEXT, notified INTEGER DEFAULT 0
);
"""
ORDER = {"sku": str, "quantity": int, "total_cents": int, "email": str}


def take(rows: sqlite3.Connection, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Write the order down unless its key was seen before; return the order either way."""
    values = (uuid.uuid4().hex, key, body["sku"], body["quantity"], body["total_cents"])
    rows.execute(
        "INSERT OR IGNORE INTO orders (id, key, sku, quantity, total_cents, email, status)"
        " VALUES (?, ?, ?, ?, ?, ?, 'taken')",
        (*values, body["email"]),
    )
    return dict(rows.execute("SELECT * FROM orders WHERE key = ?", (key,)).fetchone())


def build(settings: Settings, payments_url: str, notifications_url: str) -> Flask:
    """The web application, calling payments and notifications."""
    app = create("orders", settings)
    database = Database(settings.database, SCHEMA)

    @app.get("/orders/<order_id>")
    def show(order_id: str) -> ResponseReturnValue:
        with database.work() as rows:
            row = rows.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        return (jsonify(error="no such order"), 404) if row is None else jsonify(dict(row))

    @app.post("/orders")
    def create_order() -> ResponseReturnValue:
        body = json_body()
        if any(type(body.get(name)) is not kind for name, kind in ORDER.items()):
            return jsonify(error="an order has sku, quantity, total_cents and email"), 422
        fields = {name.lower(): value for name, value in request.headers.items()}
        with database.work() as rows:
            order = take(rows, fields.get("idempotency-key") or uuid.uuid4().hex, body)
        if order["status"] == "paid":
            return jsonify(order), 200
        charge = {"order": order["id"], "amount_cents": order["total_cents"]}
        paid = post(f"{payments_url}/charges", charge, fields, order["id"])
        if not paid.ok:
            return jsonify(error="the payment failed", payments_status=paid.status), 502
        text = {"to": order["email"], "text": f"Order {order['id']} is paid. Thank you!"}
        told = post(f"{notifications_url}/messages", text, fields, order["id"])
        with database.work() as rows:
            rows.execute(
                "UPDATE orders SET status = 'paid', notified = ? WHERE id = ?",
                (int(told.ok), order["id"]),
            )
        return jsonify({**order, "status": "paid", "notified": int(told.ok)}), 201

    return app


def main() -> int:
    """Run the service; `PAYMENTS_URL` and `NOTIFICATIONS_URL` say where the others are."""
    settings = Settings.from_environment()
    app = build(
        settings,
        os.environ.get("PAYMENTS_URL", "http://payments"),
        os.environ.get("NOTIFICATIONS_URL", "http://notifications"),
    )
    return run(flask_server(settings, app))


if __name__ == "__main__":
    sys.exit(main())
