"""What a policy may do to a request or a response, and the short list of what it may not.

Invariants: an obligation never touches authority, path, framing, hop-by-hop or identity fields;
names and values are checked against RFC 9110 section 5 before they reach a wire; a name that only
differs by `_` for `-` counts as the protected name, because many servers fold the two together.
The query obligations of OPA-Envoy are the one thing that changes a target: every untouched
parameter keeps its bytes, and a query that can be read in two ways is not edited at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from policy.call import Field

FIELDS_MAX: Final = 64
VALUE_BYTES_MAX: Final = 8192
TARGET_CHARS_MAX: Final = 16384

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}\Z")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")

# Framing, connection, routing and the identity of the mesh: neither set nor removed by policy.
_PROTECTED: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "l5d-client-id",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "txn-hops",
        "txn-token",
        "upgrade",
        "x-forwarded-client-cert",
        "x-pomerium-jwt-assertion",
        "x-request-id",
    }
)
_PROTECTED_PREFIXES: Final = ("x-narrowgate-", "x-envoy-", "x-istio-")
# Removing one of these subtracts; setting one speaks for somebody else.
_UNSETTABLE: Final = frozenset(
    {
        "authorization",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)


class ObligationError(ValueError):
    """Policy asked for something that no gate may do; the text names it, never a value."""


class Edits(NamedTuple):
    """Checked obligations: request fields to set and remove, response fields, query edits."""

    set: tuple[Field, ...]
    remove: frozenset[bytes]
    response: tuple[Field, ...]
    query_set: tuple[tuple[str, str], ...]
    query_remove: frozenset[str]


_KEYS: Final = (
    "headers",
    "request_headers_to_remove",
    "response_headers_to_add",
    "query_parameters_to_set",
    "query_parameters_to_remove",
)


def edits(answer: Mapping[str, object]) -> Edits | None:
    """The edits an allow asks for, or `None` when it asks for none.

    Raises:
        ObligationError: one of them is malformed or forbidden.
    """
    if not any(key in answer for key in _KEYS):
        return None
    removed = _texts(answer, "request_headers_to_remove")
    return Edits(
        _fields(answer, "headers", settable_only=True),
        frozenset(_name(name, settable_only=False) for name in removed),
        response_fields(answer, "response_headers_to_add"),
        _pairs(answer, "query_parameters_to_set"),
        frozenset(_texts(answer, "query_parameters_to_remove")),
    )


def response_fields(answer: Mapping[str, object], key: str) -> tuple[Field, ...]:
    """The response fields under `key` of `answer`.

    Raises:
        ObligationError: one of them is malformed or forbidden.
    """
    return _fields(answer, key, settable_only=False)


def apply(wanted: Edits, fields: tuple[Field, ...], target: str) -> tuple[tuple[Field, ...], str]:
    """`fields` and `target` with the edits made. Setting replaces; removing wins over setting.

    Raises:
        ObligationError: the query cannot be edited safely.
    """
    if wanted.set or wanted.remove:
        gone = wanted.remove.union(name for name, _ in wanted.set)
        kept = [field for field in fields if field[0] not in gone]
        kept.extend(field for field in wanted.set if field[0] not in wanted.remove)
        fields = tuple(kept)
    if wanted.query_set or wanted.query_remove:
        target = _retarget(target, wanted.query_set, wanted.query_remove)
    return fields, target


def _retarget(target: str, wanted: tuple[tuple[str, str], ...], removed: frozenset[str]) -> str:
    path, _, query = target.partition("?")
    if ";" in query or "#" in target:
        raise ObligationError("the query can be read in two ways and is not edited")
    gone = removed.union(name for name, _ in wanted)
    parts = [
        part for part in query.split("&") if part and _decoded(part.partition("=")[0]) not in gone
    ]
    parts += [
        f"{quote_plus(name)}={quote_plus(value)}" for name, value in wanted if name not in removed
    ]
    result = f"{path}?{'&'.join(parts)}" if parts else path
    if len(result) > TARGET_CHARS_MAX:
        raise ObligationError("the edited target is over its bound")
    return result


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _fields(answer: Mapping[str, object], key: str, *, settable_only: bool) -> tuple[Field, ...]:
    pairs = _pairs(answer, key)
    return tuple((_name(name, settable_only=settable_only), _value(value)) for name, value in pairs)


def _pairs(answer: Mapping[str, object], key: str) -> tuple[tuple[str, str], ...]:
    """`{name: text | [text]}`, or a list of such objects as OPA-Envoy also takes."""
    if key not in answer:
        return ()
    given = answer[key]
    objects = given if isinstance(given, list) else [given]
    pairs: list[tuple[str, str]] = []
    for item in objects:
        if not isinstance(item, dict):
            raise ObligationError(f"`{key}` is not an object")
        for name, value in item.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) for one in values):
                raise ObligationError(f"`{key}` has a value that is no string")
            pairs.extend((name, one) for one in values)
    if len(pairs) > FIELDS_MAX:
        raise ObligationError(f"`{key}` has too many members")
    return tuple(pairs)


def _texts(answer: Mapping[str, object], key: str) -> list[str]:
    given = answer.get(key, [])
    if not isinstance(given, list) or len(given) > FIELDS_MAX:
        raise ObligationError(f"`{key}` is not a list of names")
    if not all(isinstance(one, str) for one in given):
        raise ObligationError(f"`{key}` is not a list of names")
    return given


def _name(name: str, *, settable_only: bool) -> bytes:
    if not _NAME.match(name):
        raise ObligationError("a field name is not a token (RFC 9110 section 5.1)")
    lower = name.lower()
    folded = lower.replace("_", "-")
    if folded in _PROTECTED or folded.startswith(_PROTECTED_PREFIXES):
        raise ObligationError(f"no obligation touches `{folded}`")
    if settable_only and folded in _UNSETTABLE:
        raise ObligationError(f"no obligation sets `{folded}`")
    return lower.encode("ascii")


def _value(text: str) -> bytes:
    try:
        value = text.encode("utf-8").strip(b" \t")
    except UnicodeEncodeError:
        raise ObligationError("a field value is not text") from None
    if len(value) > VALUE_BYTES_MAX or not _VALUE.match(value):
        raise ObligationError("a field value is not well-formed (RFC 9110 section 5.5)")
    return value
