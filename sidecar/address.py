"""Where something listens or is reached: an IP address (or host name) and a port.

Invariants: a parsed `Address` has one reading only. Listeners are IP literals (a name may resolve
to anything tomorrow); IPv6 stands in brackets; port 0, zone ids and surrounding space are refused.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple, Self

_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME_CHARS_MAX: Final = 253
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_PORT_MAX: Final = 65535
_LOOPBACK_V4: Final = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK_V6: Final = ipaddress.IPv6Address("::1")


class AddressError(ValueError):
    """The text is not one unambiguous address; the message says what to write."""


class Address(NamedTuple):
    """A host (IP literal without brackets, or a lower-case DNS name) and a port 1-65535."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, names: bool = False) -> Self:
        """Read `127.0.0.1:80`, `[::1]:80` or, only with `names`, `host.example:80`.

        Raises AddressError with advice.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise AddressError("must be host and port, write it like 127.0.0.1:17006")
        if not _PORT.fullmatch(port) or int(port) > _PORT_MAX:
            raise AddressError(f"must end in a port, choose 1 to {_PORT_MAX}")
        return cls(_host(host, names=names), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it: 127.0.0.0/8 or ::1, never a name."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv4Address):
            return address in _LOOPBACK_V4
        return address == _LOOPBACK_V6

    def overlaps(self, other: Address) -> bool:
        """Whether a connection to one could reach the other (a wildcard covers every host)."""
        if self.port != other.port:
            return False
        return self.host == other.host or self._wildcard or other._wildcard

    @property
    def _wildcard(self) -> bool:
        """0.0.0.0 or [::], which stand for every address."""
        return not self.host.strip("0.:")


def _host(text: str, *, names: bool) -> str:
    if text.startswith("[") and text.endswith("]"):
        return _ip(text[1:-1], version=6)
    if re.fullmatch(r"[0-9.]+", text):
        return _ip(text, version=4)
    if not names:
        raise AddressError("must start with an IP address, write 127.0.0.1 or [::1], not a name")
    if len(text) > _NAME_CHARS_MAX or not _NAME.fullmatch(text):
        raise AddressError("does not start with a host name or IP address, correct it")
    return text.lower()


def _ip(text: str, *, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressError("does not start with a valid IP address, correct it") from None
    if address.version != version or "%" in text:
        raise AddressError("has brackets or a zone that do not fit, write 127.0.0.1:80 or [::1]:80")
    return str(address)
