"""What policy may do to a request, and what it may not."""

from __future__ import annotations

import pytest

from policy.obligations import ObligationError, apply, edits

FIELDS = ((b"accept", b"*/*"), (b"x-a", b"1"), (b"x-b", b"2"))


def edited(answer: dict[str, object], target: str = "/p") -> tuple[tuple[object, ...], str]:
    wanted = edits(answer)
    assert wanted is not None
    return apply(wanted, FIELDS, target)


def test_no_obligation_is_no_edit() -> None:
    assert edits({"allowed": True, "http_status": 200, "body": "x"}) is None


def test_setting_replaces_and_adds() -> None:
    fields, _ = edited({"headers": {"X-A": "9", "x-new": ["1", " 2 "]}})
    assert fields == (
        (b"accept", b"*/*"),
        (b"x-b", b"2"),
        (b"x-a", b"9"),
        (b"x-new", b"1"),
        (b"x-new", b"2"),
    )


def test_removing_wins_over_setting() -> None:
    fields, _ = edited({"headers": {"x-a": "9"}, "request_headers_to_remove": ["X-A", "x-b"]})
    assert fields == ((b"accept", b"*/*"),)


def test_a_list_of_objects_is_taken_as_well() -> None:
    assert edited({"headers": [{"x-c": "1"}, {"x-d": "2"}]})[0][-2:] == (
        (b"x-c", b"1"),
        (b"x-d", b"2"),
    )


@pytest.mark.parametrize(
    "name",
    [
        ":authority",
        ":path",
        "Host",
        "content-length",
        "Transfer-Encoding",
        "transfer_encoding",
        "connection",
        "TE",
        "trailer",
        "upgrade",
        "expect",
        "txn-token",
        "Txn_Hops",
        "x-forwarded-client-cert",
        "x-request-id",
        "tracestate",
        "x-narrowgate-reason",
        "x-envoy-original-path",
        "l5d-client-id",
        "proxy-connection",
        "bad name",
        "bad\r\nname",
        "",
        "né",
    ],
)
@pytest.mark.parametrize("key", ["headers", "response_headers_to_add", "request_headers_to_remove"])
def test_protected_and_malformed_names_are_refused(name: str, key: str) -> None:
    value: object = [name] if key.endswith("remove") else {name: "x"}
    with pytest.raises(ObligationError):
        edits({key: value})


@pytest.mark.parametrize(
    "name", ["authorization", "x-forwarded-for", "Forwarded", "x-original-url"]
)
def test_what_speaks_for_others_is_removed_but_never_set(name: str) -> None:
    with pytest.raises(ObligationError):
        edits({"headers": {name: "x"}})
    assert edits({"request_headers_to_remove": [name]}) is not None


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\x00", "x" * 9000, 1, None, {"a": "b"}])
def test_malformed_values_are_refused(value: object) -> None:
    with pytest.raises(ObligationError):
        edits({"headers": {"x-a": value}})


@pytest.mark.parametrize(
    "answer",
    [
        {"headers": "x-a"},
        {"headers": None},
        {"request_headers_to_remove": "x-a"},
        {"request_headers_to_remove": [1]},
        {"request_headers_to_remove": ["x"] * 65},
        {"headers": {f"x-{index}": "1" for index in range(65)}},
        {"query_parameters_to_set": {"a": 1}},
        {"query_parameters_to_remove": {"a": "b"}},
    ],
)
def test_malformed_obligations_are_refused(answer: dict[str, object]) -> None:
    with pytest.raises(ObligationError):
        edits(answer)


def test_query_edits_keep_the_bytes_of_the_rest() -> None:
    answer: dict[str, object] = {
        "query_parameters_to_set": {"role": "user & co", "new": "é"},
        "query_parameters_to_remove": ["admin"],
    }
    _, target = edited(answer, "/p?a=%7e&%61dmin=1&role=root&b=1+2&admin&c")
    assert target == "/p?a=%7e&b=1+2&c&role=user+%26+co&new=%C3%A9"


def test_query_edits_of_no_query() -> None:
    assert edited({"query_parameters_to_remove": ["a"]}, "/p")[1] == "/p"
    assert edited({"query_parameters_to_remove": ["a"]}, "/p?a=1")[1] == "/p"
    assert edited({"query_parameters_to_set": {"a": "?#&="}}, "/p")[1] == "/p?a=%3F%23%26%3D"


@pytest.mark.parametrize("target", ["/p?a=1;b=2", "/p?a#b"])
def test_an_ambiguous_query_is_not_edited(target: str) -> None:
    with pytest.raises(ObligationError):
        edited({"query_parameters_to_remove": ["a"]}, target)


def test_an_edited_target_stays_bounded() -> None:
    with pytest.raises(ObligationError):
        edited({"query_parameters_to_set": {"a": "x" * 20000}}, "/p")
