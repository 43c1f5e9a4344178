"""Which inbound routes need a grant: the longest declared path decides, and doubt means required.

Invariants: a path that no route covers, a method that the longest covering route does not list,
and a path that the application might read differently than the gate all need a grant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import unquote

_ROUTE_PATH: Final = re.compile(r"/|(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)+")
_SECOND_READING: Final = re.compile(r"%|;|//|/\.|\\")
_PARAMETERS: Final = re.compile(r";[^/]*")
_SLASHES: Final = re.compile(r"/{2,}")


class GrantRule(StrEnum):
    """Whether a route is called with a grant, may be, or must not be."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    FORBIDDEN = "forbidden"


class RouteLike(Protocol):
    """One declared route: path prefix, methods (None = every one), rule."""

    @property
    def path(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...] | None: ...
    @property
    def grant(self) -> GrantRule: ...


def check_route_path(path: str) -> str:
    """Return `path` when it has one reading only; raises ValueError with advice."""
    if not _ROUTE_PATH.fullmatch(path):
        raise ValueError(
            "must be '/' or plain segments like /a/b, "
            "leave out trailing slashes, dots segments, '%', ';' and '?'"
        )
    return path


class Routes:
    """The inbound routes of one sidecar, compiled for `match`. Immutable."""

    __slots__ = ("_rules",)

    def __init__(self, routes: Iterable[RouteLike]) -> None:
        """Raises ValueError when two routes give the same path and method."""
        rules: dict[str, dict[str, GrantRule]] = {}
        for route in routes:
            of_path = rules.setdefault(check_route_path(route.path), {})
            for method in route.methods or ("",):
                if method in of_path:
                    raise ValueError(f"declares {method or 'every method'} of a path twice")
                of_path[method] = route.grant
        ordered = sorted(rules.items(), key=lambda item: -len(item[0]))
        self._rules: Final = tuple((path, path.rstrip("/") + "/", of) for path, of in ordered)

    def match(self, path: str, method: str) -> GrantRule:
        """The rule for one call: `path` as received without query, `method` case-sensitive."""
        if not self._rules:
            return GrantRule.REQUIRED
        if path == "*":  # OPTIONS for the server as a whole (RFC 9110 section 9.3.7)
            path = "/"
        rule = self._longest(path, method)
        if _SECOND_READING.search(path) is None:
            return rule
        # The application may decode, drop parameters or merge slashes: all readings must agree.
        decoded = unquote(path, errors="replace")
        plain = _SLASHES.sub("/", _PARAMETERS.sub("", decoded))
        if "/." in plain or "\\" in plain or "%" in plain:
            return GrantRule.REQUIRED
        agreed = rule is self._longest(decoded, method) is self._longest(plain, method)
        return rule if agreed else GrantRule.REQUIRED

    def _longest(self, path: str, method: str) -> GrantRule:
        for exact, prefix, of_path in self._rules:
            if path == exact or path.startswith(prefix):
                return of_path.get(method) or of_path.get("") or GrantRule.REQUIRED
        return GrantRule.REQUIRED
