"""The storefront: what a customer sees. Lists products and takes a basket to the checkout."""

from __future__ import annotations

import os
import sys
import uuid

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from examples.commerce.services.flask_app import create, flask_server, json_body
from examples.commerce.services.web import Database, Settings, post, run

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, title TEXT, price_cents INTEGER);
INSERT OR IGNORE INTO products VALUES ('tea', 'Green tea, 100 g', 790);
INSERT OR IGNORE INTO products VALUES ('pot', 'Cast iron pot', 5900);
INSERT OR IGNORE INTO products VALUES ('cup', 'Porcelain cup', 1450);
"""


def build(settings: Settings, orders_url: str) -> Flask:
    """The web application, calling the orders service at `orders_url`."""
    app = create("storefront", settings)
    database = Database(settings.database, SCHEMA)

    @app.get("/products")
    def products() -> ResponseReturnValue:
        with database.work() as rows:
            found = rows.execute("SELECT * FROM products ORDER BY sku").fetchall()
        return jsonify(products=[dict(row) for row in found])

    @app.post("/checkout")
    def checkout() -> ResponseReturnValue:
        basket = json_body()
        with database.work() as rows:
            product = rows.execute(
                "SELECT * FROM products WHERE sku = ?", (str(basket.get("sku")),)
            ).fetchone()
        quantity = basket.get("quantity", 1)
        if product is None or type(quantity) is not int or not 0 < quantity <= 100:
            return jsonify(error="no such product or quantity"), 422
        reply = post(
            f"{orders_url}/orders",
            {
                "sku": product["sku"],
                "quantity": quantity,
                "total_cents": product["price_cents"] * quantity,
                "email": str(basket.get("email", "")),
            },
            {name.lower(): value for name, value in request.headers.items()},
            request.headers.get("Idempotency-Key") or uuid.uuid4().hex,
        )
        if not reply.ok:
            return jsonify(error="the order was not taken", orders_status=reply.status), 502
        return jsonify(reply.body), reply.status

    return app


def main() -> int:
    """Run the service; `ORDERS_URL` says where orders are."""
    settings = Settings.from_environment()
    app = build(settings, os.environ.get("ORDERS_URL", "http://orders"))
    return run(flask_server(settings, app))


if __name__ == "__main__":
    sys.exit(main())
