"""The names that the driver relies on, together."""

from __future__ import annotations

from sidecar.http import http1
from sidecar.http.head import Framing, Limits


def test_every_name_is_there() -> None:
    assert all(hasattr(http1, name) for name in http1.__all__)


def test_a_message_through_all_of_it() -> None:
    head = http1.encode_request("POST", b"/a", b"shop", [(b"x", b"y")], Framing.CHUNKED, 0)
    wire = head + http1.encode_chunk(b"hello") + http1.encode_last_chunk([(b"t", b"1")])
    parsed = http1.parse_request(wire, Limits())
    assert parsed is not None
    request, used = parsed
    decoder = http1.BodyDecoder(request.framing, request.length, Limits())
    assert decoder.feed(wire[used:]) == [b"hello"]
    assert (decoder.done, decoder.trailers, decoder.rest) == (True, [(b"t", b"1")], b"")
