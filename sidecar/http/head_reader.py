"""Read heads from a buffer that grows by small pieces, without looking at a byte twice.

Role: the state that `parse_request` and `parse_response` do without: how far the buffer was
scanned. The driver keeps one reader per connection and direction.
Invariants: the verdict is the same as that of the functions at every split of the bytes.
"""

from __future__ import annotations

from typing import Final, final

from sidecar.http.head import Limits, RequestHead, ResponseHead
from sidecar.http.http1_request import check_request_part, parse_request, skip_empty_lines
from sidecar.http.http1_response import check_response_part, parse_response


@final
class HeadReader:
    """Call it with the same buffer, grown, until it returns a head; then drop what it took."""

    __slots__ = ("_limits", "_scanned")

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._scanned = 0

    def request(self, buffer: bytearray | bytes) -> tuple[RequestHead, int] | None:
        """As `parse_request`. Raises Refused."""
        scanned = self._scanned
        if not scanned or buffer.find(b"\r\n\r\n", max(0, scanned - 3)) >= 0:
            parsed = parse_request(buffer, self._limits)
            self._scanned = len(buffer) if parsed is None else 0
            return parsed
        start = skip_empty_lines(buffer)
        check_request_part(buffer, start, max(start, scanned), self._limits)
        self._scanned = len(buffer)
        return None

    def response(
        self, buffer: bytearray | bytes, *, request_method: str
    ) -> tuple[ResponseHead, int] | None:
        """As `parse_response`. Raises Refused."""
        scanned = self._scanned
        if not scanned or buffer.find(b"\r\n\r\n", max(0, scanned - 3)) >= 0:
            parsed = parse_response(buffer, self._limits, request_method=request_method)
            self._scanned = len(buffer) if parsed is None else 0
            return parsed
        check_response_part(buffer, scanned, self._limits)
        self._scanned = len(buffer)
        return None
