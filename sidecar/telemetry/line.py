"""One log record as one line of JSON that no value can break out of.

Invariants: a line is printable ASCII and ends with its only newline; every text is bounded; there
is no field for a query, a header value, a body or a token text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Final

import orjson

_DELETE: Final = 0x7F
_MILLISECONDS: Final = tuple(f"{count:03d}Z" for count in range(1000))
PATH_CHARS_MAX: Final = 512
TEXT_CHARS_MAX: Final = 256
METHOD_CHARS_MAX: Final = 32


class Stamps:
    """From seconds since 1970 to `2026-01-31T12:00:00.123Z`, cheap within one second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def at(self, time_s: float) -> str:
        """RFC 3339 in UTC with milliseconds."""
        second = int(time_s)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return self._prefix + _MILLISECONDS[int((time_s - second) * 1000)]


def encode(record: Mapping[str, object]) -> bytes:
    """The line of `record`, newline included."""
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or a number over 64 bits
        return _encode_ascii(record)
    return line if line.isascii() and _DELETE not in line else _encode_ascii(record)


def _encode_ascii(record: Mapping[str, object]) -> bytes:
    """Everything else as \\uXXXX: no line or terminal control of any alphabet gets through."""
    clean = {name: _well_formed(value) for name, value in record.items()}
    text = json.dumps(clean, ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def _well_formed(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list | tuple):
        return [_well_formed(item) for item in value]
    return value


def bounded_path(path: str) -> str:
    """A path for a log: without query, at most `PATH_CHARS_MAX` characters."""
    if "?" in path:
        path = path[: path.index("?")]
    return path if len(path) <= PATH_CHARS_MAX else path[:PATH_CHARS_MAX]
