"""The admin endpoints on the gates' own HTTP driver: health, metrics and status listeners."""

from __future__ import annotations

import logging

from sidecar.http.head import Framing, ResponseHead
from sidecar.http.refusal import phrase
from sidecar.http.stream import Stream
from sidecar.telemetry.admin import Admin, Reply

log = logging.getLogger("narrowgate.surface")
_FAILED = Reply(500, "text/plain; charset=utf-8", b"failed\n")


class Surface:
    """Answers each request of one listener from `admin`; nothing is ever forwarded."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def serve(self, stream: Stream) -> None:
        """Answer one request; a body is not read, so the connection closes after one."""
        head = stream.head
        try:
            reply = self._admin.handle(head.method, head.path)
        except Exception:
            log.exception("%s failed", head.path)
            reply = _FAILED
        fields = [
            (b"content-type", reply.content_type.encode("ascii")),
            (b"cache-control", b"no-store"),
        ]
        body = reply.body
        stream.start(
            ResponseHead(reply.status, phrase(reply.status), fields, Framing.LENGTH, len(body))
        )
        stream.write(body)
        stream.finish([])
