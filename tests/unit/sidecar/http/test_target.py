"""Targets and authorities with one reading only."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.head import Refused
from sidecar.http.target import parse_authority, parse_target


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/a/b", "/a/b", ""),
        (b"/a/", "/a/", ""),
        (b"/a?b=c&d=%20e", "/a", "b=c&d=%20e"),
        (b"/a?", "/a", ""),
        (b"/?a?b/../c//d", "/", "a?b/../c//d"),
        (b"/.well-known/x", "/.well-known/x", ""),
        (b"/a...b/..c/d..", "/a...b/..c/d..", ""),
        (b"/caf%C3%A9%20x", "/caf%C3%A9%20x", ""),
        (b"/100%25", "/100%25", ""),
        (b"/a;v=1/b:c@d!$&'()*+,=~", "/a;v=1/b:c@d!$&'()*+,=~", ""),
        (b"/a?f[x]={1|2}^`", "/a", "f[x]={1|2}^`"),
        (b"/a?next=%2F%2e%00", "/a", "next=%2F%2e%00"),
    ],
)
def test_origin_form_is_kept_byte_for_byte(target: bytes, path: str, query: str) -> None:
    """RFC 9112 section 3.2.1."""
    read = parse_target("GET", target)
    assert (read.wire, read.path, read.query, read.authority) == (target, path, query, "")


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b",
        b"/..",
        b"/a/.",
        b"/./a",
        b"/a/..;/b",
        b"/a/..;x=1",
        b"/a/..%3b/b",
        b"/%2e%2e/a",
        b"/.%2E/a",
        b"/%2e",
        b"/a%2fb",
        b"/a%2Fb",
        b"/a%5cb",
        b"/a\\b",
        b"//a",
        b"/a//b",
        b"/a//",
        b"/%252e",
        b"/a%2525",
        b"/%00",
        b"/%0d%0a",
        b"/%7f",
        b"/%",
        b"/%1",
        b"/%zz",
        b"/%c0%af",
        b"/%ff",
        b"/\xc3\xa9",
        b"/%61dmin",
        b"/%41",
        b"/%30",
        b"/%7E",
        b"/%5f",
        b"/%2D",
        b"/a#b",
        b"/#",
        b"/a?b#c",
        b'/a"b',
        b"/a<b>",
        b"/a|b",
        b"/a[b]",
    ],
)
def test_ambiguous_paths_are_refused(path: bytes) -> None:
    """RFC 3986 sections 2.3, 3.3 and 6.2.2: what two recipients may read differently."""
    for target in (path, path + b"?q", b"http://a" + path):
        with pytest.raises(Refused) as caught:
            parse_target("GET", target)
        assert caught.value.reason is Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("query", [b"%", b"%g0", b'"', b"<", b"\\", b"\xff", b"a\tb"])
def test_malformed_queries_are_refused(query: bytes) -> None:
    """RFC 3986 section 3.4."""
    with pytest.raises(Refused) as caught:
        parse_target("GET", b"/?" + query)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("target", "wire", "authority"),
    [
        (b"http://Shop:80/a?b", b"/a?b", "shop:80"),
        (b"HTTP://shop", b"/", "shop"),
        (b"http://shop?a=b", b"/?a=b", "shop"),
        (b"http://[::1]:8080/", b"/", "[::1]:8080"),
    ],
)
def test_absolute_form(target: bytes, wire: bytes, authority: str) -> None:
    """RFC 9112 section 3.2.2."""
    read = parse_target("GET", target)
    assert (read.wire, read.authority, read.absolute) == (wire, authority, True)


def test_asterisk_form_is_for_options() -> None:
    """RFC 9112 section 3.2.4."""
    assert parse_target("OPTIONS", b"*").path == "*"
    assert parse_target("OPTIONS", b"http://shop").wire == b"*"
    assert parse_target("OPTIONS", b"http://shop/").wire == b"/"
    with pytest.raises(Refused):
        parse_target("GET", b"*")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"a", Reason.MALFORMED),
        (b"shop:80", Reason.MALFORMED),  # authority-form, RFC 9112 section 3.2.3
        (b"?a", Reason.MALFORMED),
        (b"http://", Reason.MALFORMED),
        (b"http:///a", Reason.MALFORMED),
        (b"http:/a", Reason.MALFORMED),
        (b"http://u:p@shop/", Reason.MALFORMED),
        (b"https://shop/", Reason.MISDIRECTED),
        (b"ftp://shop/", Reason.MISDIRECTED),
    ],
)
def test_other_forms_are_refused(target: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        parse_target("GET", target)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("value", "authority"),
    [
        (b"a", "a"),
        (b"Orders.Shop.Example:8080", "orders.shop.example:8080"),
        (b"a.", "a."),
        (b"a_b-c", "a_b-c"),
        (b"127.0.0.1:1", "127.0.0.1:1"),
        (b"a:65535", "a:65535"),
        (b"a:", "a"),
        (b"[::1]", "[::1]"),
        (b"[2001:DB8:0:0::1]:80", "[2001:db8::1]:80"),
    ],
)
def test_authorities(value: bytes, authority: str) -> None:
    """RFC 9110 section 7.2."""
    assert parse_authority(value) == authority
    assert parse_authority(value) == authority  # and again, from memory


@pytest.mark.parametrize(
    "value",
    [
        b"", b":80", b"a b", b"a,b", b"a/b", b"a@b", b"a#x", b"a?x", b"http://a", b"\xffa", b"<a>",
        b"a:99999", b"a:99999999", b"a:0", b"a:080", b"a:8o", b"a:1:2", b"a:-1", b"a..b", b".a",
        b"a%41", b"[::1", b"::1", b"[::g]", b"[1]", b"[::1%eth0]", b"[v1.a]", b"[::1]a", b"a\n",
        b"a" * 300, b"a\x00", b"*",
    ],
)  # fmt: skip
def test_bad_authorities_are_refused(value: bytes) -> None:
    """RFC 9112 section 3.2: an invalid Host is a 400."""
    with pytest.raises(Refused) as caught:
        parse_authority(value)
    assert caught.value.reason is Reason.MALFORMED


def test_the_memory_for_hosts_is_bounded() -> None:
    from sidecar.http import target

    for number in range(3000):
        parse_authority(b"h%d" % number)
    assert len(target._hosts) <= 1024
