"""The little that the Flask services share: the app with its log line, and its server."""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from examples.commerce.services.web import BODY_BYTES_MAX, Settings, note


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet: `note` has already written the line."""


def create(name: str, settings: Settings) -> Flask:
    """A Flask app with /healthz, a body bound and one log line per request."""
    app = Flask(name)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX

    @app.before_request
    def write_line() -> None:
        note(settings, request.method, request.full_path.rstrip("?"), request.headers.items())

    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        return jsonify(status="ok")

    return app


def json_body() -> dict[str, Any]:
    """The request's JSON object, empty when it is none."""
    value = request.get_json(silent=True)
    return value if isinstance(value, dict) else {}


def flask_server(settings: Settings, app: Flask) -> BaseWSGIServer:
    """Werkzeug's threading server."""
    return make_server(settings.host, settings.port, app, threaded=True, request_handler=_Handler)
