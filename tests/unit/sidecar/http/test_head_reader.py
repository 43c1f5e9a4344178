"""The reader with memory agrees with the functions, and looks at no byte twice."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.http.head import Limits, Refused
from sidecar.http.head_reader import HeadReader
from sidecar.http.http1_request import parse_request
from sidecar.http.http1_response import parse_response

REQUEST = b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"


class Counted(bytearray):
    """A buffer that counts the bytes that are copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.copied += len(found) if isinstance(found, bytearray) else 1
        return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_a_request_in_steps(step: int) -> None:
    reader = HeadReader(Limits())
    for _ in range(2):  # and again on the same connection
        buffer = bytearray()
        for at in range(0, len(REQUEST), step):
            buffer += REQUEST[at : at + step]
            parsed = reader.request(buffer)
            assert (parsed is None) == (len(buffer) < len(REQUEST))
        assert parsed == parse_request(REQUEST, Limits())


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_a_response_in_steps(step: int) -> None:
    reader = HeadReader(Limits())
    buffer = bytearray()
    for at in range(0, len(RESPONSE), step):
        buffer += RESPONSE[at : at + step]
        parsed = reader.response(buffer, request_method="GET")
        assert (parsed is None) == (len(buffer) < len(RESPONSE))
    assert parsed == parse_response(RESPONSE, Limits(), request_method="GET")


@pytest.mark.parametrize(
    "raw",
    [b"GET / HTTP/1.1\r\nX: a\nb", b"GET / HTTP/1.1\r\nX: a\rb", b"GET / HTTP/3.0\r\n", b"\x16"],
)
def test_a_refusal_comes_with_the_byte_that_caused_it(raw: bytes) -> None:
    reader = HeadReader(Limits())
    caused = len(raw.rstrip(b"b"))
    if raw.endswith(b"\rb"):
        caused += 1  # only the byte after a CR shows that it was bare
    for end in range(1, caused):
        assert reader.request(bytearray(raw[:end])) is None
    with pytest.raises(Refused):
        reader.request(bytearray(raw[:caused]))


def test_a_slow_head_costs_linear_work() -> None:
    size = 20_000
    limits = Limits(field_bytes_max=size)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * (size - 100) + b"\r\n\r\n"
    reader = HeadReader(limits)
    buffer = Counted()
    for byte in raw:
        buffer.append(byte)
        parsed = reader.request(buffer)
    assert parsed is not None
    assert buffer.copied < 100 * len(raw)
