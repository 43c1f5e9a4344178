"""W3C Trace Context, read strictly, and our entry in `tracestate` that carries a handle.

Invariants: a trace id is never believed to be an identity: it only narrows down which live grants
a call may belong to. What cannot be read is as if it had not come (W3C Trace Context section 3.2).
"""

from __future__ import annotations

import re
from typing import Final

HANDLE: Final = re.compile(r"[0-9a-f]{34}")
STATE_BYTES_MAX: Final = 512
STATE_MEMBERS_MAX: Final = 32
_KEY: Final = "ng"
_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?",
    re.DOTALL,
)


def trace_id(traceparent: bytes) -> str | None:
    """The 32-digit trace id of a `traceparent` value, or `None` when it is not one.

    A version above 00 may carry more after the flags, version 00 may not.
    """
    found = _PARENT.fullmatch(traceparent)
    if found is None or (found[1] == b"00" and found[3] is not None):
        return None
    return found[2].decode("ascii")


def handle(text: bytes) -> str | None:
    """The text as a handle if it has the form of one; whether it lives is the store's to say."""
    try:
        candidate = text.decode("ascii")
    except UnicodeDecodeError:
        return None
    return candidate if HANDLE.fullmatch(candidate) else None


def state_handle(tracestate: bytes) -> str | None:
    """The handle in our member of a `tracestate` value, if there is exactly one."""
    found = [value for key, value in _members(tracestate) if key == _KEY]
    return handle(found[0].encode("ascii")) if len(found) == 1 else None


def with_handle(tracestate: bytes, value: str) -> bytes:
    """`tracestate` with our member in front, whatever was ours in it removed.

    The oldest members fall away beyond 32 members or 512 bytes (section 3.3.1.5).
    """
    kept = [f"{_KEY}={value}"]
    size = len(kept[0])
    for key, text in _members(tracestate):
        if key == _KEY:
            continue
        member = f"{key}={text}"
        size += 1 + len(member)
        if size > STATE_BYTES_MAX or len(kept) >= STATE_MEMBERS_MAX:
            break
        kept.append(member)
    return ",".join(kept).encode("ascii")


def without_handle(tracestate: bytes) -> bytes:
    """`tracestate` without our member, for whoever is not the application."""
    kept = [f"{key}={text}" for key, text in _members(tracestate) if key != _KEY]
    return ",".join(kept).encode("ascii")


def _members(tracestate: bytes) -> list[tuple[str, str]]:
    if not tracestate.isascii():
        return []
    members = []
    for item in tracestate.decode("ascii").split(","):
        key, equals, value = item.strip(" \t").partition("=")
        if equals and key.isprintable() and value.isprintable():
            members.append((key, value))
    return members
