"""What a request asks for: the target and the authority, each with exactly one reading.

Role: RFC 9112 section 3.2 and RFC 3986 for the request line and for Host.
Invariants: whatever is returned is ASCII and is both what policy judges and what is forwarded,
byte for byte; a path that two recipients could read differently is refused, never repaired.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from policy.reason import Reason
from sidecar.http.head import Refused

# RFC 3986 section 3.3: pchar without "." and without percent-encoding.
_SAFE: Final = rb"A-Za-z0-9\-_~!$&'()*+,;=:@"
# A query may also hold what browsers leave as it is (WHATWG URL, query percent-encode set).
_QUERY: Final = _SAFE + rb"./?\[\]{}|^`"

_PLAIN_BYTES: Final = (
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + b"-_~!$&'()*+,;=:@./?"
)
_PATH: Final = re.compile(rb"(?:/(?:[." + _SAFE + rb"]|%[0-9A-Fa-f]{2})*+)++")
_QUERY_TEXT: Final = re.compile(rb"(?:[" + _QUERY + rb"]|%[0-9A-Fa-f]{2})*+")
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)", re.DOTALL)

_TWO_READINGS: Final = re.compile(
    rb"%(?:[01][0-9A-Fa-f]|7[Ff]"  # a control
    rb"|2[Ff]|5[Cc]"  # a slash or a backslash
    rb"|25[0-9A-Fa-f]{2}"  # encoded twice
    rb"|2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"  # unreserved: RFC 3986 2.3
)

_HOST_BYTES_MAX: Final = 261  # 255 of a DNS name, a colon, five digits
_HOST: Final = re.compile(
    rb"(?:([A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*+\.?)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]*))?"
)
_PORT_MAX: Final = 65535
_PORT_DIGITS_MAX: Final = 5
_HOSTS_MAX: Final = 1024
_hosts: Final[dict[bytes, str]] = {}


class Target(NamedTuple):
    """A request target in one reading. `authority` is "" unless it came in absolute-form."""

    wire: bytes
    path: str
    query: str
    authority: str
    absolute: bool


def parse_target(method: str, target: bytes) -> Target:
    """Read a request target (RFC 9112 section 3.2).

    Raises Refused: MALFORMED, AMBIGUOUS_PATH, or MISDIRECTED for another scheme than http.
    """
    if target[:1] == b"/":
        if b"//" in target or b"/." in target or target.translate(None, _PLAIN_BYTES):
            return _careful(target, "", False)
        text = target.decode("ascii")
        path, _, query = text.partition("?")
        return Target(target, path, query, "", False)
    if target == b"*":
        if method != "OPTIONS":
            raise Refused(Reason.MALFORMED, "asterisk-form is for OPTIONS only (RFC 9112 3.2.4)")
        return Target(b"*", "*", "", "", False)
    return _absolute(method, target)


def _absolute(method: str, target: bytes) -> Target:
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise Refused(Reason.MALFORMED, "the target is in no known form (RFC 9112 3.2)")
    scheme, host, rest = found.groups()
    authority = parse_authority(host)
    if scheme.lower() != b"http":
        raise Refused(Reason.MISDIRECTED, "absolute-form with a scheme that is not http")
    if not rest and method == "OPTIONS":
        return Target(b"*", "*", "", authority, True)  # RFC 9112 section 3.2.4
    if rest[:1] != b"/":
        rest = b"/" + rest  # RFC 9112 section 3.2.1: an empty path is "/"
    return _careful(rest, authority, True)


def _careful(target: bytes, authority: str, absolute: bool) -> Target:
    if b"#" in target:
        raise Refused(Reason.AMBIGUOUS_PATH, "a fragment in the target (RFC 9112 3.2)")
    path, _, query = target.partition(b"?")
    _check_path(path)
    if _QUERY_TEXT.fullmatch(query) is None:
        raise Refused(Reason.MALFORMED, "the query has a byte outside RFC 3986 3.4")
    return Target(target, path.decode("ascii"), query.decode("ascii"), authority, absolute)


def _check_path(path: bytes) -> None:
    if _PATH.fullmatch(path) is None:
        raise Refused(Reason.AMBIGUOUS_PATH, "the path has a byte outside RFC 3986 3.3")
    if b"//" in path:
        raise Refused(Reason.AMBIGUOUS_PATH, "the path has an empty segment")
    if _TWO_READINGS.search(path):
        raise Refused(Reason.AMBIGUOUS_PATH, "the path encodes what it should not (RFC 3986 2.3)")
    decoded = unquote_to_bytes(path)
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(Reason.AMBIGUOUS_PATH, "the path does not encode UTF-8") from None
    for segment in decoded.split(b"/"):
        if segment.partition(b";")[0] in {b".", b".."}:
            raise Refused(Reason.AMBIGUOUS_PATH, "the path has a dot segment (RFC 3986 3.3)")


def parse_authority(value: bytes) -> str:
    """Return `host[:port]` in lower case (RFC 9110 section 7.2, RFC 3986 section 3.2).

    Stricter than RFC 3986: a registered name has letters, digits, `-`, `_` and single dots, no
    user information, no percent-encoding; a port is 1 to 65535 without leading zeros; an empty
    port is dropped. Raises Refused(MALFORMED).
    """
    known = _hosts.get(value)
    if known is not None:
        return known
    authority = _read_authority(value)
    if len(_hosts) >= _HOSTS_MAX:
        _hosts.clear()
    _hosts[value] = authority
    return authority


def _read_authority(value: bytes) -> str:
    found = _HOST.fullmatch(value) if len(value) <= _HOST_BYTES_MAX else None
    if found is None:
        raise Refused(Reason.MALFORMED, "the host is not a host and port (RFC 9110 7.2)")
    name, literal, port = found.groups()
    if port and (port[:1] == b"0" or len(port) > _PORT_DIGITS_MAX or int(port) > _PORT_MAX):
        raise Refused(Reason.MALFORMED, "the host's port is out of range")
    host = name.decode("ascii").lower() if name else _read_ipv6(literal)
    return f"{host}:{port.decode('ascii')}" if port else host


def _read_ipv6(literal: bytes) -> str:
    try:
        return f"[{IPv6Address(literal.decode('ascii'))}]"
    except AddressValueError:
        raise Refused(Reason.MALFORMED, "the host is not an IPv6 address (RFC 3986)") from None
