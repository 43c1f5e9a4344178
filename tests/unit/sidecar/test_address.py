"""Addresses have one reading; what is not clearly loopback is not loopback."""

from __future__ import annotations

import pytest

from sidecar.address import Address, AddressError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:65535", "::1", 65535), ("0.0.0.0:1", "0.0.0.0", 1)],
)
def test_literals_are_read(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
        "127.0.0.1:080", "127.0.0.1:+80", "127.0.0.1: 80", "127.0.0.1:80\n", " 127.0.0.1:80",
        "127.1:80", "0177.0.0.1:80", "2130706433:80", "::1:80", "[127.0.0.1]:80", "[::1%lo]:80",
        "[::1]80", "localhost:80", "127.0.0.1:\u0668\u0660",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


def test_names_only_where_asked_for() -> None:
    assert Address.parse("Authority.Example:17010", names=True) == Address(
        "authority.example", 17010
    )
    for text in ("-a:1", "a..b:1", "a_b:1", "a b:1", f"{'a' * 64}:1", "a/b:1", "u@h:1"):
        with pytest.raises(AddressError):
            Address.parse(text, names=True)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.255.0.9:1", "[::1]:1"])
def test_loopback(text: str) -> None:
    assert Address.parse(text).loopback


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1"])
def test_not_loopback(text: str) -> None:
    assert not Address.parse(text).loopback


def test_a_name_is_never_loopback() -> None:
    assert not Address("localhost", 1).loopback


def test_overlap_needs_the_port_and_a_common_host() -> None:
    one = Address.parse("127.0.0.1:80")
    assert one.overlaps(Address.parse("0.0.0.0:80"))
    assert Address.parse("[::]:80").overlaps(one)
    assert one.overlaps(one)
    assert not one.overlaps(Address.parse("127.0.0.2:80"))
    assert not one.overlaps(Address.parse("0.0.0.0:81"))
