"""HTTP/1.1 on the wire, sans-io: bytes in, heads and body pieces out, and back.

Role: the names that the driver uses; the parts are in the modules beside this one.
Invariants: nothing here awaits, logs or reads a clock; a message is judged before any of it is
handed on; every refusal is `Refused`, every misuse of an encoder is `ValueError`.
"""

from __future__ import annotations

from sidecar.http.body import BodyDecoder
from sidecar.http.encode import (
    CONTINUE,
    encode_chunk,
    encode_last_chunk,
    encode_request,
    encode_response,
)
from sidecar.http.head_reader import HeadReader
from sidecar.http.http1_request import parse_request
from sidecar.http.http1_response import parse_response

__all__ = [
    "CONTINUE",
    "BodyDecoder",
    "HeadReader",
    "encode_chunk",
    "encode_last_chunk",
    "encode_request",
    "encode_response",
    "parse_request",
    "parse_response",
]
