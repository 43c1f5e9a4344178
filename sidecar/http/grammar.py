"""Which bytes and which field names HTTP/1.1 lets through, and what each special name is for.

Role: the tables that the HTTP/1 parser, the body decoder and the encoder share.
Invariants: a name is in `Names.plain` only if it is a token (RFC 9110 section 5.1) and means
nothing to this hop; the tables learn names, but never more than a bound; a name that some
application would read as a special one (`Content_Length`) is never forwarded.
"""

from __future__ import annotations

import re
from typing import Final, final

TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"  # RFC 9110 section 5.6.2
TOKEN: Final = re.compile(rb"[" + TCHAR + rb"]+")
WHITE: Final = b" \t"  # OWS, RFC 9110 section 5.6.3

VALUE_BYTES: Final = bytes((9, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""HTAB, SP, VCHAR and obs-text: all that a field value may hold (RFC 9110 section 5.5)."""

FRAMING_NAMES: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})

HOP_NAMES: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
"""Meant for this hop alone (RFC 9110 section 7.6.1), so never forwarded."""

SINGLE_NAMES: Final = frozenset(
    {
        b"authorization",
        b"content-type",
        b"idempotency-key",
        b"txn-hops",
        b"txn-token",
        b"x-request-id",
    }
)
"""Forwarded, but two of them could be read in two ways, so two are refused."""

TOKEN_NAMES: Final = frozenset({b"txn-hops", b"txn-token"})

PROTECTED_NAMES: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"cookie",
        b"forwarded",
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
        b"txn-hops",
        b"txn-token",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-request-id",
    }
)
"""End-to-end: a Connection field that would strip one of these from the message is refused."""

_LOOKALIKE_NAMES: Final = FRAMING_NAMES | HOP_NAMES | SINGLE_NAMES | PROTECTED_NAMES | {b"expect"}

_COMMON: Final = (
    "accept accept-charset accept-encoding accept-language accept-ranges"
    " access-control-allow-origin access-control-request-headers access-control-request-method"
    " age allow baggage cache-control"
    " content-disposition content-encoding content-language content-location content-range cookie"
    " date dnt etag expires forwarded from grpc-timeout if-match if-modified-since if-none-match"
    " if-range if-unmodified-since last-modified link location max-forwards origin pragma prefer"
    " priority range referer retry-after sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform"
    " sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user server set-cookie"
    " strict-transport-security traceparent tracestate upgrade-insecure-requests user-agent vary"
    " via www-authenticate x-content-type-options x-forwarded-client-cert x-forwarded-for"
    " x-forwarded-host x-forwarded-proto x-frame-options x-real-ip x-requested-with"
)

LINE_BYTES_REMEMBERED_MAX: Final = 160
_LINES_REMEMBERED_MAX: Final = 4096
_SECRET_NAMES: Final = frozenset({b"cookie", b"set-cookie"})
_LEARNED_MAX: Final = 1024
_LEARNED_NAME_BYTES_MAX: Final = 64


@final
class Names:
    """Field names by their spelling: `plain` ones are copied, others need a look.

    `plain` maps a spelling to its lower case. `look(spelling)` classifies a spelling that is not
    in `plain`, and remembers it there when it turns out to be plain. `lines` maps whole field lines
    that came before to their field: clients repeat most of them. Both memories are bounded, and no
    line that may hold a secret is kept.
    `special` ones mean something to this hop; of the `single` ones only one may come.
    """

    __slots__ = ("_seed", "lines", "marked", "plain", "single", "special")

    def __init__(self, special: frozenset[bytes], single: frozenset[bytes]) -> None:
        self.special: Final = special | single
        self.single: Final = single  # special ones of which a message may have one only
        self.marked: Final = _spellings(sorted(self.special))
        self._seed: Final = {
            spelling: lower
            for spelling, lower in _spellings(_COMMON.encode().split()).items()
            if lower not in self.special
        }
        self.plain: Final = dict(self._seed)
        self.lines: Final[dict[bytes, tuple[bytes, bytes]]] = {}

    def remember(self, lines: list[bytes]) -> None:
        """Keep the fields that well-formed lines of plain names are."""
        for line in lines:
            name, _, value = line.partition(b":")
            lower = self.plain.get(name)
            if lower is None or lower in _SECRET_NAMES or len(line) > LINE_BYTES_REMEMBERED_MAX:
                continue
            if len(self.lines) >= _LINES_REMEMBERED_MAX:
                self.lines.clear()
            self.lines[line] = (lower, value.strip(WHITE))

    def look(self, spelling: bytes) -> bytes | None:
        """Return the name in lower case, b"" for one to drop, None when it is not a token."""
        marked = self.marked.get(spelling)
        if marked is not None:
            return marked
        if TOKEN.fullmatch(spelling) is None:
            return None
        lower = spelling.lower()
        if lower in self.special:
            return lower
        if b"_" in lower and lower.replace(b"_", b"-") in _LOOKALIKE_NAMES:
            return b""  # CGI and WSGI read `_` and `-` alike (RFC 3875 section 4.1.18)
        self._learn(spelling, lower)
        return lower

    def _learn(self, spelling: bytes, lower: bytes) -> None:
        if len(spelling) > _LEARNED_NAME_BYTES_MAX:
            return
        if len(self.plain) >= len(self._seed) + _LEARNED_MAX:
            self.plain.clear()
            self.plain.update(self._seed)
        self.plain[spelling] = lower


def _spellings(names: list[bytes]) -> dict[bytes, bytes]:
    return {spelling: name for name in names for spelling in (name, name.title())}


REQUEST_NAMES: Final = Names(HOP_NAMES, FRAMING_NAMES | SINGLE_NAMES | {b"expect"})
RESPONSE_NAMES: Final = Names(
    HOP_NAMES | {b"expect", b"host"}, frozenset({b"content-length", b"transfer-encoding"})
)

_TRAILER_NAMES_DROPPED: Final = (
    FRAMING_NAMES
    | HOP_NAMES
    | SINGLE_NAMES
    | PROTECTED_NAMES
    | {
        b"age",
        b"date",
        b"expect",
        b"expires",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
    }
)
_TRAILER_PREFIXES_DROPPED: Final = (
    b"access-control-",
    b"content-",
    b"if-",
    b"l5d-",
    b"proxy-",
    b"txn-",
    b"x-envoy-",
    b"x-forwarded-",
    b"x-narrowgate-",
    b"x-pomerium-",
)


def trailer_is_dropped(lower: bytes) -> bool:
    """Whether a trailer of that name must not be merged or forwarded (RFC 9110 section 6.5.1)."""
    hyphened = lower.replace(b"_", b"-")
    return hyphened in _TRAILER_NAMES_DROPPED or hyphened.startswith(_TRAILER_PREFIXES_DROPPED)


def line_breaks_are_strict(part: bytes, lines: int) -> bool:
    """Whether `part`, which CRLF splits into `lines`, has no other CR or LF and no control."""
    return len(part.translate(None, VALUE_BYTES)) == 2 * (lines - 1)
