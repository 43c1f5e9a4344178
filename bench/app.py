"""The application behind every variant: nginx answering one JSON document of usual size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from bench.fleet import Fleet, listening

PORT: Final = 18080
ROLE: Final = "app"

_RECEIPT: Final = {
    "status": "captured",
    "receipt": "rcp-20931-77-c",
    "order": "order-8841207",
    "amount_minor": 4250,
    "currency": "EUR",
    "method": {"kind": "card", "brand": "visa", "last": "4242"},
    "authorised_at": "2026-03-14T09:26:53Z",
    "links": {"self": "/charge/rcp-20931-77-c", "refund": "/refund/rcp-20931-77-c"},
}

_CONFIG: Final = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log stderr warn; {user}
events {{ worker_connections 2048; }}
http {{
  access_log off; default_type application/json;
  keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ return 200 '{answer}'; }} }}
}}
"""


def start(fleet: Fleet, home: Path, *, user: str) -> None:
    """Start nginx with its files below `home`; `user` runs the worker when we are root."""
    home.mkdir()
    text = _CONFIG.format(
        home=home,
        port=PORT,
        answer=json.dumps(_RECEIPT, separators=(",", ":")),
        user=f"user {user};" if user else "",
    )
    (home / "nginx.conf").write_text(text)
    fleet.start(ROLE, ["nginx", "-p", str(home), "-c", str(home / "nginx.conf")])
    fleet.wait(ROLE, listening(PORT))
