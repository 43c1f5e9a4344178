"""Decodes the parts of a call that a policy reads in decoded form: path, query, body.

Invariants: what comes out says exactly what the bytes say, in the only way they can be read;
anything else (bytes that are not UTF-8, a key given twice, a broken escape, a query with `;`) is
`Unreadable` and denies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

from policy.call import Field
from policy.reason import Reason

_PARAMETERS_MAX: Final = 1000


class Unreadable(Exception):
    """The call holds something that a policy cannot be shown faithfully."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason.label)
        self.reason: Final = reason
        self.detail: Final = detail


def utf8(raw: bytes, detail: str) -> str:
    """`raw` as text. Raises `Unreadable` with `detail`."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable(Reason.MALFORMED, detail) from None


def parsed_path(path: str) -> list[str]:
    """The decoded path, split at its slashes, without the leading ones.

    Raises:
        Unreadable: an escape is broken or not UTF-8.
    """
    return _percent(path, plus=False).lstrip("/").split("/")


def parsed_query(query: str) -> dict[str, list[str]]:
    """`{name: [values]}` of a form-encoded query (WHATWG URL section 5.1).

    Raises:
        Unreadable: it can be read in two ways, or has too many parameters.
    """
    if not query:
        return {}
    if ";" in query:
        raise Unreadable(Reason.AMBIGUOUS_PATH, "`;` in a query that the policy reads")
    if query.count("&") >= _PARAMETERS_MAX:
        raise Unreadable(Reason.TARGET_TOO_LONG, "too many query parameters")
    parsed: dict[str, list[str]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            parsed.setdefault(_percent(name, plus=True), []).append(_percent(value, plus=True))
    return parsed


def _percent(text: str, *, plus: bool) -> str:
    """`text` with its percent-escapes decoded, each well-formed and together UTF-8."""
    if plus:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    for piece in text.split("%")[1:]:
        if len(piece) < 2 or not _is_hex(piece[0]) or not _is_hex(piece[1]):  # noqa: PLR2004
            raise Unreadable(Reason.MALFORMED, "a percent-escape is not well-formed")
    return utf8(unquote_to_bytes(text), "percent-escapes are not UTF-8")


def _is_hex(char: str) -> bool:
    return char in "0123456789abcdefABCDEF"


def parsed_body(body: bytes, fields: Iterable[Field]) -> object:
    """The value of a JSON or form body, null for an empty body or another media type.

    Raises:
        Unreadable: the body does not have exactly one reading, or is multipart.
    """
    kinds = [value for name, value in fields if name == b"content-type"]
    if not body or not kinds:
        return None
    if len(kinds) > 1:
        raise Unreadable(Reason.DUPLICATE_FIELD, "two content types")
    kind = kinds[0].split(b";", 1)[0].strip().lower()
    if kind == b"application/json" or kind.endswith(b"+json"):
        return _strict_json(utf8(body, "the JSON body is not UTF-8"))
    if kind == b"application/x-www-form-urlencoded":
        return parsed_query(utf8(body, "the form body is not UTF-8"))
    if kind.startswith(b"multipart/"):
        raise Unreadable(Reason.MALFORMED, "the policy reads bodies; multipart is not read")
    return None


def _strict_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise Unreadable(Reason.MALFORMED, "the body is not one strict JSON value") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key came twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(name)
