"""The exchange is a stream: the names, and the shape, that the path relies on."""

from __future__ import annotations

import inspect

from sidecar.http.client import ClientConnection
from sidecar.http.exchange import Exchange
from sidecar.http.intake import Intake
from sidecar.http.stream import Connection, Reset, Sink, Source, Stream


def as_stream(found: Exchange) -> Stream:
    """Only mypy reads this: it fails where the shapes differ."""
    return found


def as_halves(found: Exchange) -> tuple[Source, Sink]:
    return found, found


def test_every_name_of_the_protocols_is_there() -> None:
    names = {
        name
        for protocol in (Source, Sink, Stream)
        for name in (*vars(protocol), *inspect.get_annotations(protocol))
        if not name.startswith("_")
    }
    assert {"take", "read", "write", "finish", "reset", "when_gone"} <= names
    missing = [name for name in names if not hasattr(Exchange, name)]
    assert not missing
    for name in ("read", "drain"):
        assert inspect.iscoroutinefunction(getattr(Exchange, name))


def test_both_directions_have_the_same_reading_side() -> None:
    for reader in (Exchange, ClientConnection):
        for name in ("complete", "trailers", "take", "read"):
            assert hasattr(reader, name)
    assert hasattr(Intake, "read")


def test_a_connection_is_a_plain_value() -> None:
    one = Connection(None, ("127.0.0.1", 1), ("127.0.0.1", 2), secure=False)
    assert one == Connection(None, ("127.0.0.1", 1), ("127.0.0.1", 2), secure=False)
    assert issubclass(Reset, Exception)
