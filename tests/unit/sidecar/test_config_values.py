"""Single values: one reading each, or a refusal that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from sidecar.address import Address
from sidecar.config_values import (
    Decision,
    Endpoint,
    FilePath,
    Https,
    Listen,
    Log,
    LogTarget,
    OpaAddress,
    Seconds,
    Workload,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("unix:/run/opa.sock", Path("/run/opa.sock")),
        ("http://127.0.0.1:8181", Address("127.0.0.1", 8181)),
        ("http://[::1]:8181/", Address("::1", 8181)),
    ],
)
def test_opa_is_on_this_machine(text: str, value: object) -> None:
    assert TypeAdapter[object](OpaAddress).validate_python(text) == value


@pytest.mark.parametrize(
    "text",
    ["http://10.0.0.1:8181", "https://127.0.0.1:1", "http://localhost:1", "unix:run/opa",
     "127.0.0.1:1", "http://u@127.0.0.1:1", "http://127.0.0.1:1/v1", "unix:/a\0b", 8181],
)  # fmt: skip
def test_opa_elsewhere_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(OpaAddress).validate_python(text)


def test_paths_start_at_the_folder() -> None:
    adapter = TypeAdapter(FilePath)
    context = {"folder": "/etc/narrowgate"}
    assert adapter.validate_python("a/b", context=context) == Path("/etc/narrowgate/a/b")
    assert adapter.validate_python("/a", context=context) == Path("/a")
    for value in ("", "a\0b", 7, None):
        with pytest.raises(ValidationError):
            adapter.validate_python(value, context=context)


def test_log_targets() -> None:
    adapter = TypeAdapter(Log)
    assert adapter.validate_python("stdout") == LogTarget("stdout")
    assert adapter.validate_python("none") == LogTarget("none")
    assert adapter.validate_python("./stdout") == LogTarget("file", Path("stdout"))
    assert str(LogTarget("file", Path("/x"))) == "/x"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Workload, "spiffe://shop.example"),
        (Workload, "SPIFFE://shop.example/a"),
        (Workload, 1),
        (Listen, "localhost:1"),
        (Listen, 17001),
        (Endpoint, "http://a:1"),
        (Https, "https://"),
        (Https, "https://u:p@i.example/"),
        (Https, "https://i.example/\n"),
        (Decision, "allow"),
        (Decision, "a/b;c"),
        (Seconds, 0),
        (Seconds, float("nan")),
        (Seconds, 3601),
    ],
)
def test_refusals(kind: type[object], value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_they_are_written_as_they_are_read() -> None:
    for kind, text in ((Listen, "[::1]:1"), (Workload, "spiffe://a.b/c"), (Log, "stdout")):
        adapter = TypeAdapter[object](kind)
        assert adapter.dump_python(adapter.validate_python(text)) == text
