"""The document shows the policy everything it reads, faithfully, or nothing at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from policy.call import Call, Grant, Posture
from policy.faithful import Unreadable
from policy.input import CLAIMS, EVERYTHING, FACTS, Needs, document
from policy.reason import Reason


def shown(call: Call, needs: Needs = EVERYTHING, grant: Grant | None = None) -> dict[str, Any]:
    value = json.loads(document(call, grant, Posture.NORMAL, needs))
    assert isinstance(value, dict)
    return value


def unreadable(call: Call, needs: Needs = EVERYTHING) -> Reason:
    with pytest.raises(Unreadable) as caught:
        document(call, None, Posture.NORMAL, needs)
    return caught.value.reason


def test_the_whole_document(call: Call, grant: Grant) -> None:
    assert shown(call, EVERYTHING, grant) == {
        "attributes": {
            "source": {
                "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 4001}},
                "principal": "spiffe://shop.example/ns/shop/sa/frontend",
            },
            "destination": {
                "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 17106}},
                "principal": "spiffe://shop.example/ns/shop/sa/orders",
            },
            "request": {
                "time": "2023-11-14T22:13:20.250000Z",
                "http": {
                    "id": "d-1",
                    "method": "GET",
                    "path": "/orders/7?page=2",
                    "host": "orders",
                    "protocol": "HTTP/1.1",
                    "headers": {
                        ":authority": "orders",
                        ":method": "GET",
                        ":path": "/orders/7?page=2",
                        "accept": "*/*",
                        "x-a": "1",
                    },
                },
            },
            "metadataContext": {},
        },
        "parsed_path": ["orders", "7"],
        "parsed_query": {"page": ["2"]},
        "parsed_body": None,
        "truncated_body": False,
        "version": {"ext_authz": "v3", "encoding": "protojson"},
        "narrowgate": {
            "gate": "inbound",
            "identity": {
                "self": "spiffe://shop.example/ns/shop/sa/orders",
                "peer": "spiffe://shop.example/ns/shop/sa/frontend",
            },
            "token": {
                "txn": "txn-1",
                "sub": "user-1",
                "scope": ["orders:read", "payments:charge"],
                "req_wl": "spiffe://shop.example/ns/shop/sa/frontend",
                "hops": ["spiffe://shop.example/ns/shop/sa/frontend"],
                "exp": 1700000060.0,
                "tctx": {"channel": "web"},
            },
            "destination": {
                "workload": "spiffe://shop.example/ns/shop/sa/orders",
                "host": "127.0.0.1",
                "port": 17106,
            },
            "context": {},
            "posture": "normal",
        },
    }


def test_no_token_text_is_shown(call: Call, grant: Grant) -> None:
    assert b"SECRET" not in document(call, grant, Posture.NORMAL, EVERYTHING)


def test_a_stranger_has_no_principal(call: Call) -> None:
    value = shown(call._replace(source=None))
    assert "principal" not in value["attributes"]["source"]
    assert value["narrowgate"]["identity"]["peer"] is None
    assert "token" not in value["narrowgate"]


def test_only_what_is_needed(call: Call, grant: Grant) -> None:
    value = shown(call, Needs(headers=frozenset({"x-a", "x-none"})), grant)
    assert value["attributes"]["request"]["http"]["headers"] == {"x-a": "1"}
    assert value == {
        "attributes": {
            "source": {},
            "destination": {},
            "request": {"http": {"headers": {"x-a": "1"}}},
        },
        "narrowgate": {},
    }


def leaves(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Every value that is no object, and every empty object, by its path."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {
        place: leaf
        for name, one in value.items()
        for place, leaf in leaves(one, (*path, name)).items()
    }


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_each_fact_is_shown_when_needed_and_is_that_of_the_whole(
    call: Call, grant: Grant, fact: str
) -> None:
    sized = call._replace(size=7, body=b"1234567")
    whole = leaves(shown(sized, EVERYTHING, grant))
    none = leaves(shown(sized, Needs(token=True), grant))
    one = leaves(shown(sized, Needs(token=True, facts=frozenset({fact})), grant))
    added = {path: leaf for path, leaf in one.items() if path not in none}
    assert added
    assert added.items() <= whole.items()
    if fact in CLAIMS:
        assert all(path[:2] == ("narrowgate", "token") for path in added)


def test_no_claim_is_shown_without_a_grant(call: Call) -> None:
    assert "token" not in shown(call, EVERYTHING, None)["narrowgate"]
    assert "token" not in shown(call, Needs(token=True, facts=FACTS), None)["narrowgate"]


def test_objects_are_there_when_nothing_of_them_is(call: Call) -> None:
    """`object.get(input.attributes.request.http, "scheme", "none")` has to find an object."""
    value = shown(call._replace(source=None, destination=None), Needs())
    assert value == {
        "attributes": {"source": {}, "destination": {}, "request": {"http": {}}},
        "narrowgate": {},
    }


def test_fields_of_one_name_are_joined(call: Call) -> None:
    fields = [(b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"cookie", b"b=2")]
    headers = shown(call._replace(fields=fields))["attributes"]["request"]["http"]["headers"]
    assert headers["x-a"] == "1,2"
    assert headers["cookie"] == "a=1; b=2"


def test_a_field_that_is_not_text_denies_only_who_reads_it(call: Call) -> None:
    broken = call._replace(fields=[(b"x-a", b"\xff"), (b"x-b", b"1")])
    assert unreadable(broken) is Reason.MALFORMED
    needs = Needs(headers=frozenset({"x-b"}))
    assert shown(broken, needs)["attributes"]["request"]["http"]["headers"] == {"x-b": "1"}


@pytest.mark.parametrize(
    ("path", "parsed"),
    [("/", [""]), ("/a/", ["a", ""]), ("//a", ["a"]), ("/%C3%A9/b", ["é", "b"]), ("*", ["*"])],
)
def test_parsed_path(call: Call, path: str, parsed: list[str]) -> None:
    assert shown(call._replace(path=path), Needs(path=True))["parsed_path"] == parsed


@pytest.mark.parametrize("path", ["/%", "/%4", "/%zz", "/%ff"])
def test_a_path_that_cannot_be_decoded_denies(call: Call, path: str) -> None:
    assert unreadable(call._replace(path=path), Needs(path=True)) is Reason.MALFORMED


def test_parsed_query(call: Call) -> None:
    value = shown(call._replace(query="a=1&a=2&b&c=%20+x&&d=="), Needs(query=True))
    assert value["parsed_query"] == {"a": ["1", "2"], "b": [""], "c": ["  x"], "d": ["="]}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("a=1;b=2", Reason.AMBIGUOUS_PATH),
        ("a=%", Reason.MALFORMED),
        ("a=%ff", Reason.MALFORMED),
        ("&" * 1000, Reason.TARGET_TOO_LONG),
    ],
)
def test_an_unclear_query_denies(call: Call, query: str, reason: Reason) -> None:
    assert unreadable(call._replace(query=query), Needs(query=True)) is reason


def body(call: Call, kind: str, content: bytes) -> Call:
    fields = [(b"content-type", kind.encode())] if kind else []
    return call._replace(fields=fields, body=content, size=len(content))


@pytest.mark.parametrize(
    ("kind", "content", "parsed"),
    [
        ("application/json", b'{"a": [1]}', {"a": [1]}),
        ("Application/JSON; charset=utf-8", b"1", 1),
        ("application/merge-patch+json", b"{}", {}),
        ("application/x-www-form-urlencoded", b"a=1&a=2", {"a": ["1", "2"]}),
        ("text/plain", b"{}", None),
        ("", b"{}", None),
        ("application/json", b"", None),
    ],
)
def test_parsed_body(call: Call, kind: str, content: bytes, parsed: object) -> None:
    assert shown(body(call, kind, content), Needs(parsed_body=True))["parsed_body"] == parsed


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{"),
        ("application/json", b'{"a": 1, "a": 2}'),
        ("application/json", b"NaN"),
        ("application/json", b'"\xff"'),
        ("application/json", b"\xef\xbb\xbf{}"),
        ("application/json", b"[" * 5000),
        ("application/x-www-form-urlencoded", b"a=%"),
        ("multipart/form-data; boundary=x", b"--x--"),
    ],
)
def test_a_body_that_is_not_strict_denies(call: Call, kind: str, content: bytes) -> None:
    assert unreadable(body(call, kind, content), Needs(parsed_body=True)) is Reason.MALFORMED


def test_two_content_types_deny(call: Call) -> None:
    twice = body(call, "application/json", b"{}")
    twice = twice._replace(fields=[*twice.fields, *twice.fields])
    assert unreadable(twice, Needs(parsed_body=True)) is Reason.DUPLICATE_FIELD


def test_the_raw_body(call: Call) -> None:
    value = shown(body(call, "", "é".encode()), Needs(raw_body=True, facts=frozenset({"size"})))
    assert value["attributes"]["request"]["http"]["body"] == "é"
    assert value["attributes"]["request"]["http"]["size"] == "2"
    assert unreadable(body(call, "", b"\xff"), Needs(raw_body=True)) is Reason.MALFORMED


def test_an_unknown_size_is_shown(call: Call) -> None:
    value = shown(call._replace(size=-1), Needs(facts=frozenset({"size"})))
    assert value["attributes"]["request"]["http"]["size"] == "-1"


def test_needs_join() -> None:
    first = Needs(headers=frozenset({"a"}), query=True)
    second = Needs(headers=frozenset({"b"}), raw_body=True)
    assert first.joined(second) == Needs(frozenset({"a", "b"}), query=True, raw_body=True)
    assert first.joined(replace(second, headers=None)).headers is None
    assert first.joined(second).body
    assert not first.body
    assert EVERYTHING.joined(first) == EVERYTHING
