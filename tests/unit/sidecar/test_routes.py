"""The longest path decides, and whatever is in doubt needs a grant."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes import GrantRule, Routes, check_route_path

REQUIRED, OPTIONAL, FORBIDDEN = GrantRule.REQUIRED, GrantRule.OPTIONAL, GrantRule.FORBIDDEN


class R(NamedTuple):
    path: str
    methods: tuple[str, ...] | None
    grant: GrantRule


def test_nothing_declared_means_required() -> None:
    assert Routes([]).match("/anything", "GET") is REQUIRED


@pytest.mark.parametrize(
    ("path", "method", "rule"),
    [
        ("/healthz", "GET", OPTIONAL),
        ("/healthz/", "GET", OPTIONAL),
        ("/healthz/deep", "GET", OPTIONAL),
        ("/healthzz", "GET", REQUIRED),
        ("/health", "GET", REQUIRED),
        ("/", "GET", REQUIRED),
        ("/healthz", "POST", REQUIRED),
        ("/healthz", "get", REQUIRED),
        ("/HEALTHZ", "GET", REQUIRED),
        ("*", "OPTIONS", REQUIRED),
    ],
)
def test_whole_segments_and_listed_methods(path: str, method: str, rule: GrantRule) -> None:
    assert Routes([R("/healthz", ("GET",), OPTIONAL)]).match(path, method) is rule


def test_longest_path_decides_whatever_the_order() -> None:
    declared = [R("/", None, OPTIONAL), R("/a", None, REQUIRED), R("/a/b", None, FORBIDDEN)]
    for order in (declared, declared[::-1]):
        routes = Routes(order)
        assert routes.match("/x", "GET") is OPTIONAL
        assert routes.match("/a/x", "GET") is REQUIRED
        assert routes.match("/a/b/c", "GET") is FORBIDDEN


def test_a_method_that_the_longest_path_does_not_list_does_not_fall_through() -> None:
    routes = Routes([R("/", None, OPTIONAL), R("/a", ("GET",), FORBIDDEN)])
    assert routes.match("/a", "POST") is REQUIRED


def test_methods_of_one_path_add_up() -> None:
    routes = Routes([R("/a", ("GET",), OPTIONAL), R("/a", ("POST",), FORBIDDEN)])
    assert routes.match("/a", "GET") is OPTIONAL
    assert routes.match("/a", "POST") is FORBIDDEN


def test_two_rules_for_the_same_call_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Routes([R("/a", ("GET",), OPTIONAL), R("/a", ("GET",), FORBIDDEN)])


@pytest.mark.parametrize(
    "path",
    ["/%61dmin", "/admin;x=1", "//admin", "/x/../admin", "/./admin", "/a\\admin", "/%2561dmin"],
)
def test_another_reading_of_the_path_does_not_open_it(path: str) -> None:
    routes = Routes([R("/", None, OPTIONAL), R("/admin", None, REQUIRED)])
    assert routes.match(path, "GET") is REQUIRED


def test_an_encoded_character_that_changes_nothing_is_no_obstacle() -> None:
    routes = Routes([R("/public", None, OPTIONAL)])
    assert routes.match("/public/a%20b", "GET") is OPTIONAL


@given(st.text(alphabet="/ab%612f;.\\", max_size=24))
def test_no_spelling_of_a_required_path_is_optional(text: str) -> None:
    """Whatever decodes, collapses or trims to /a must not be let through by the rule for /."""
    from urllib.parse import unquote

    routes = Routes([R("/", None, OPTIONAL), R("/a", None, REQUIRED)])
    plain = unquote("/" + text)
    while "//" in plain:
        plain = plain.replace("//", "/")
    if plain.split(";")[0] == "/a" or plain.startswith(("/a/", "/a;")):
        assert routes.match("/" + text, "GET") is REQUIRED


@pytest.mark.parametrize(
    "path", ["", "a", "/a/", "//", "/a//b", "/.", "/../a", "/a/..", "/a%20", "/a;b", "/a?b", "/\n"]
)
def test_ambiguous_route_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_route_path(path)


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c", "/.well-known/x", "/~u/a@b:c"])
def test_plain_route_paths_are_kept(path: str) -> None:
    assert check_route_path(path) == path


def test_the_server_as_a_whole_is_the_root_route() -> None:
    """`OPTIONS *` (RFC 9110 section 9.3.7) has no path of its own."""
    everything = Routes([R("/", None, GrantRule.OPTIONAL)])
    part = Routes([R("/a", None, GrantRule.OPTIONAL)])
    assert everything.match("*", "OPTIONS") is GrantRule.OPTIONAL
    assert part.match("*", "OPTIONS") is GrantRule.REQUIRED
