"""Strict base64url and strict JSON: the two encodings under every token, each with one reading.

Invariants: base64url has no padding and canonical trailing bits; JSON is an object in UTF-8 with no
BOM, no duplicate name, no NaN, no infinity, no lone surrogate, and at most `DEPTH_MAX` levels.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Final, Literal, NoReturn

Kind = Literal["malformed", "signature", "algorithm", "type", "expired", "claim"]

DEPTH_MAX: Final = 8
_ALPHABET: Final = re.compile(rb"[A-Za-z0-9_-]+", re.ASCII)


class JwsError(ValueError):
    """A token, key or claim was refused; `kind` says in which respect."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Final[Kind] = kind


def b64url_decode(text: bytes) -> bytes:
    """Decode base64url without padding, canonical trailing bits only (RFC 4648 section 3.5).

    Raises:
        JwsError: `malformed`.
    """
    if _ALPHABET.fullmatch(text) is None or len(text) % 4 == 1:
        raise JwsError("malformed", "not base64url without padding")
    raw = binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    if b64url_encode(raw) != text:
        raise JwsError("malformed", "base64url with stray trailing bits")
    return raw


def b64url_encode(raw: bytes) -> bytes:
    """Encode as base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL, b"=")


_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def json_object(raw: bytes) -> dict[str, object]:
    """Read strict JSON whose top level is an object (RFC 8259, I-JSON's rules on names).

    Raises:
        JwsError: `malformed` on bad UTF-8, a BOM, duplicate names, NaN, infinities, lone
            surrogates, more than `DEPTH_MAX` levels, or anything but an object.
    """
    try:
        value: object = _DECODER.decode(raw.decode("utf-8"))
    except JwsError:
        raise
    except (ValueError, RecursionError):
        raise JwsError("malformed", "not strict JSON") from None
    if not isinstance(value, dict):
        raise JwsError("malformed", "not a JSON object")
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        _check_depth(value)
    if b"\\u" in raw:
        _check_text(value)
    return value


def json_bytes(value: Mapping[str, object]) -> bytes:
    """Write compact JSON in UTF-8.

    Raises:
        JwsError: `malformed` for values that JSON cannot carry.
    """
    try:
        return _ENCODER.encode(dict(value)).encode("utf-8")
    except (TypeError, ValueError):
        raise JwsError("malformed", "a value that JSON cannot carry") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JwsError("malformed", "a JSON name came twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise JwsError("malformed", "a JSON number that is not finite")
    return value


def _no_constant(_: str) -> NoReturn:
    raise JwsError("malformed", "NaN or infinity in JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    if any(isinstance(item, dict | list) for item in level):
        raise JwsError("malformed", "JSON nested too deep")


def _check_text(value: object) -> None:
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise JwsError("malformed", "a lone surrogate in JSON") from None
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
